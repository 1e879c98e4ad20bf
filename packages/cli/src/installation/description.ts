import { fromHex, hexOf, MillraceError, parse } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { type Machine, machineKind, machineSchema, profileSchema, tokenSchema } from '@millrace/protocol';
import { z } from 'zod';

const name = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/i, { error: 'expected a name' });

/** A machine's registration in JSON: public data, the key in hexadecimal. */
export const machineJsonSchema = z.strictObject({
  machine: hexOf(16),
  publicKey: hexOf(65),
  serial: z.string().min(1).max(64),
  kind: machineKind,
  profile: profileSchema,
  token: tokenSchema.optional(),
});
export type MachineJson = z.output<typeof machineJsonSchema>;

const descriptionSchema = z.strictObject({
  version: z.literal(1),
  /** Set at installation. Clients accept a directory only with this administrator's signature. */
  installation: hexOf(16),
  adminKey: hexOf(33),
  /** Name of the installation, for its first directory. */
  name: z.string().min(1).max(100).optional(),
  created: z.string(),
  /** Whether `millrace up` enrols the first organisations and people (people.ts). */
  firstPeople: z.boolean().optional(),
  users: z.array(z.strictObject({ name, user: hexOf(16), publicKey: hexOf(33) })),
  machines: z.array(
    z.strictObject({
      name,
      material: z.string().min(1).max(64),
      registration: machineJsonSchema,
      /** Its agent runs at another place and was paired; its folder is there. */
      elsewhere: z.literal(true).optional(),
    }),
  ),
});

/** What an installation's users know about each other and its machines: names and public keys, no secrets. */
export type Description = z.output<typeof descriptionSchema>;
export type MachineEntry = Description['machines'][number];
export type UserEntry = Description['users'][number];

/** @throws {MillraceError} E_CONFIG */
export function parseDescription(input: unknown): Description {
  return parse(descriptionSchema, input, 'installation', 'E_CONFIG');
}

export function machineToJson(machine: Machine): MachineJson {
  return { ...machine, publicKey: Buffer.from(machine.publicKey).toString('hex') };
}

/** @throws {MillraceError} E_MACHINE_UNKNOWN if the machine's name does not match its key */
export function machineFromJson(json: MachineJson): Machine {
  const machine = parse(machineSchema, { ...json, publicKey: fromHex(json.publicKey) }, 'machine');
  if (keyName(machine.publicKey) !== machine.machine) {
    throw new MillraceError('E_MACHINE_UNKNOWN', `machine ${machine.serial}: its name is not its key’s`);
  }
  return machine;
}
