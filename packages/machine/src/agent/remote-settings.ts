import { join } from 'node:path';
import { bytesOf, decodeCbor, MillraceError, parse } from '@millrace/base';
import { commonPolicy, type SafetyPolicy, safetyPolicySchema } from '@millrace/gcode';
import { type MachineProfile, type RemoteSettings, readMachineSettings } from '@millrace/protocol';
import { z } from 'zod';
import type { DriverRegistry } from '../drivers/registry.ts';
import { type StateSigner, signedFile } from './signed-file.ts';

// Settings that the organisation of the machine has signed and the cloud has carried here (docs/adr/0068).

const stateSchema = z.strictObject({
  number: z.number().int().positive(),
  /** Number of the newest statement on who holds the machine. */
  assignment: z.number().int().nonnegative(),
  /** The statement in force, as it was signed. It was verified when it came. */
  statement: z.instanceof(Uint8Array),
  hash: bytesOf(32),
});
export type SettingsState = z.output<typeof stateSchema>;

/** Settings in force that came from elsewhere. */
export interface RemoteVersion {
  readonly number: number;
  readonly settings: RemoteSettings;
}

/** The settings of the machine's own files. */
export interface OwnSettings {
  readonly kind: string;
  readonly serial: string;
  readonly profile: MachineProfile;
  readonly safety?: SafetyPolicy | undefined;
  readonly agent: { readonly stallMs: number; readonly giveUpMs: number };
  readonly driver: Readonly<Record<string, unknown>>;
}

/** The statement in force, in the machine's data folder. */
export const settingsFile = (data: string, signer: StateSigner) =>
  signedFile(join(data, 'settings.state'), signer, {
    label: 'settings',
    schema: stateSchema,
    remedy: 'remove it; then the organisation of the machine sets its settings again',
  });

/** The settings that the machine works by from its next start on. @throws {MillraceError} E_STORE */
export async function readRemoteSettings(data: string, signer: StateSigner): Promise<RemoteVersion | undefined> {
  const state = await settingsFile(data, signer).read();
  return state && { number: state.number, settings: readMachineSettings(state.statement).settings };
}

/**
 * The machine's settings under those from elsewhere. Its own safety policy holds as well.
 * @throws {MillraceError} E_INPUT for a policy or a setting that is wrong, or has nothing in common with the own policy;
 *   E_CONFIG if the driver cannot apply a policy
 */
export function underRemote<T extends OwnSettings>(own: T, remote: RemoteSettings, drivers: DriverRegistry): T {
  const { safety: policy, stallMs, giveUpMs, bufferBytes } = remote;
  const registration = drivers.get(own.kind);
  const safety = policy === undefined ? own.safety : bothPolicies(own.safety, policy);
  if (safety !== undefined && registration.appliesSafety === undefined)
    throw new MillraceError('E_CONFIG', `the ${own.kind} driver cannot apply a safety policy`);
  const driver = bufferBytes === undefined ? own.driver : { ...own.driver, bufferBytes };
  if (bufferBytes !== undefined)
    parse(
      registration.settings,
      { serial: own.serial, ...registration.settingsFor(own.profile), ...driver },
      'settings of the driver',
    );
  const agent = {
    ...own.agent,
    ...(stallMs === undefined ? {} : { stallMs }),
    ...(giveUpMs === undefined ? {} : { giveUpMs }),
  };
  return { ...own, safety, agent, driver };
}

function bothPolicies(own: SafetyPolicy | undefined, policy: Uint8Array): SafetyPolicy {
  const other = parse(safetyPolicySchema, decodeCbor(policy, 'safety policy'), 'safety policy');
  return own === undefined ? other : commonPolicy(own, other);
}
