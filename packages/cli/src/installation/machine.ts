import { writeDurably } from '@millrace/base';
import { makeFolder, toJsonFile } from '@millrace/client/node';
import type { Authority } from '@millrace/identity';
import {
  createMachineKey,
  createMachineKeyInToken,
  type NewToken,
  writeMachineDirectory,
  writeMachineSettings,
} from '@millrace/machine/admin';
import type { Machine } from '@millrace/protocol';
import { machineToJson } from './description.ts';
import type { Layout } from './layout.ts';
import type { Installation } from './open.ts';

export interface NewMachine {
  readonly name: string;
  readonly kind: string;
  /** Default: derived from the machine's key, for machines that have none. */
  readonly serial?: string;
  readonly material: string;
  readonly profile: Machine['profile'];
  readonly driver: Readonly<Record<string, unknown>>;
  /** Where to create the machine's key. Default: in a file of its folder. */
  readonly token?: NewToken | undefined;
}

/** Creates key, certificate and settings of a machine in its folder; all but the directory. */
export async function writeMachine(
  layout: Layout,
  authority: Authority,
  anchor: { readonly installation: string; readonly adminKey: string },
  { name, kind, serial, material, profile, driver, token }: NewMachine,
): Promise<Machine> {
  const folder = await makeFolder(layout.machine(name));
  const { settings: inToken, ...key } =
    token === undefined
      ? { ...(await createMachineKey(folder)), settings: undefined }
      : await createMachineKeyInToken(folder, `millrace ${name}`, token, { attended: true });
  const machine: Machine = { ...key, serial: serial ?? `${name}-${key.machine.slice(0, 8)}`, kind, profile };
  const settings = {
    role: 'machine',
    ...anchor,
    serial: machine.serial,
    kind,
    profile,
    driver,
    material,
    ...(inToken === undefined ? {} : { token: inToken }),
    agent: { order: 'auto', suite: 'auto', hints: 'dense' },
  };
  await writeMachineSettings(folder, await authority.issue({ role: 'machine', name: machine.machine }), settings);
  return machine;
}

/** Adds a machine to an installation. */
export async function createMachine(
  { layout, directories, description }: Installation,
  authority: Authority,
  added: NewMachine,
): Promise<Machine> {
  const { installation, adminKey } = description;
  const machine = await writeMachine(layout, authority, { installation, adminKey }, added);
  await writeMachineDirectory(layout.machine(added.name), directories.signed);
  const entry = { name: added.name, material: added.material, registration: machineToJson(machine) };
  const machines = [...description.machines, entry];
  await writeDurably(layout.installation, toJsonFile({ ...description, machines }), 0o644);
  return machine;
}
