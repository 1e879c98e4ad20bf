import { fromHex, hexOf, MillraceError, parse } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { type Machine, machineKind, machineSchema, profileSchema } from '@millrace/protocol';
import { z } from 'zod';

const name = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/i, { error: 'expected a name' });

/** A machine's registration as it stands in JSON: public, its key in hexadecimal. */
export const machineJsonSchema = z.strictObject({
  machine: hexOf(16),
  publicKey: hexOf(65),
  serial: z.string().min(1).max(64),
  kind: machineKind,
  profile: profileSchema,
});
export type MachineJson = z.output<typeof machineJsonSchema>;

const descriptionSchema = z.strictObject({
  version: z.literal(1),
  /** What clients are installed with: the directory is believed with this administrator's signature. */
  installation: hexOf(16),
  adminKey: hexOf(33),
  created: z.string(),
  users: z.array(z.strictObject({ name, user: hexOf(16), publicKey: hexOf(33) })),
  machines: z.array(z.strictObject({ name, material: z.string().min(1).max(64), registration: machineJsonSchema })),
});

/** What an installation's users know of each other and of its machines: names and public keys, no secret. */
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

/** @throws {MillraceError} E_MACHINE_UNKNOWN when the machine's name is not its key's. */
export function machineFromJson(json: MachineJson): Machine {
  const machine = parse(machineSchema, { ...json, publicKey: fromHex(json.publicKey) }, 'machine');
  if (keyName(machine.publicKey) !== machine.machine) {
    throw new MillraceError('E_MACHINE_UNKNOWN', `machine ${machine.serial}: its name is not its key’s`);
  }
  return machine;
}
