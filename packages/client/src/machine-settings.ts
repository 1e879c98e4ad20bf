import type { MachineView, SettingsView } from '@millrace/api';
import { encodeCbor, equalBytes, fromBase64, MillraceError, parse } from '@millrace/base';
import { safetyPolicySchema } from '@millrace/gcode';
import {
  onlyKey,
  type RemoteSettings,
  readMachineSettings,
  remoteSettingsSchema,
  sha256,
  verifyFor,
  verifyMachineDocument,
  verifyMachineRegistration,
} from '@millrace/protocol';
import { z } from 'zod';
import { ownCredential } from './people.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

// Settings of machines at other places, signed by the organisation that holds them.

const givenSchema = z.strictObject({ ...remoteSettingsSchema.shape, safety: safetyPolicySchema.optional() });

/** Settings as people write them: the safety policy in the form of safety.json. @throws {MillraceError} E_INPUT */
export function readSettings(given: unknown, name: string): RemoteSettings {
  const { safety, ...plain } = parse(givenSchema, given, name);
  return { ...plain, ...(safety && { safety: encodeCbor(safety as never) }) };
}

/**
 * Signs settings for machines that the user's organisation holds. They replace the earlier ones.
 * @returns their number
 * @throws {MillraceError} E_FORBIDDEN (no owner-admin or operator, or another organisation holds a machine), E_CONFLICT
 */
export async function setMachineSettings(
  session: Session,
  machines: readonly string[],
  settings: RemoteSettings,
): Promise<number> {
  const { member } = await ownCredential(session);
  if (member === undefined)
    throw new MillraceError('E_FORBIDDEN', 'only people of the organisation that holds a machine set its settings');
  const { organisation } = member;
  const known = await Promise.all(machines.map((machine) => machineSettings(session, machine)));
  const number = Math.max(session.clock.now(), ...known.map((view) => (view?.number ?? 0) + 1));
  const body = { type: 'machine.settings' as const, organisation, number, machines: [...machines], settings };
  await session.api.submit((await signNew(session, body)).bytes);
  return number;
}

/** The newest settings of a machine as control shows them; undefined if there are none. */
export async function machineSettings({ api }: Pick<Session, 'api'>, machine: string) {
  try {
    return await api.settings(machine);
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'E_NOT_FOUND') return undefined;
    throw error;
  }
}

/**
 * Verifies settings that control shows: the organisation has signed them for this machine, and the machine has reported
 * on them what control says.
 * @throws {MillraceError} E_CONFLICT (control shows something else), E_SIGNATURE, E_AUTH, E_FORBIDDEN, E_REVOKED
 */
export async function verifySettings(
  { directory }: Pick<Session, 'directory'>,
  view: SettingsView,
  registered: Pick<MachineView, 'document'>,
): Promise<RemoteSettings> {
  const { machine, organisation, number, state, code, report } = view;
  const other = (what: string) => new MillraceError('E_CONFLICT', `control shows ${what}`, { data: { machine } });
  const transaction = fromBase64(view.document);
  const attested = { transaction, credential: fromBase64(view.credential) };
  const { body } = await verifyFor({ organisation }, ['owner-admin', 'operator'], attested, directory);
  if (body.type !== 'machine.settings' || body.number !== number || !body.machines.includes(machine))
    throw other('the settings of another machine');
  if (report === undefined) {
    if (state === 'applied') throw other('settings as applied without a report');
    return body.settings;
  }
  const { publicKey, machine: name } = await verifyMachineRegistration(fromBase64(registered.document), directory);
  const signer = onlyKey(publicKey);
  const { installation } = directory;
  const { body: said } = await verifyMachineDocument(fromBase64(report), installation, signer, 'any time');
  const isOf =
    said.type === 'settings.report' &&
    name === machine &&
    said.machine === machine &&
    equalBytes(said.statement, sha256(transaction)) &&
    said.outcome === state &&
    said.code === code;
  if (!isOf) throw other('a report on other settings');
  return body.settings;
}

/** The settings that a machine had applied before the newest ones. @throws {MillraceError} E_STATE if there are none */
export function previousSettings({ machine, previous }: SettingsView): RemoteSettings {
  if (previous === undefined)
    throw new MillraceError('E_STATE', `machine ${machine} had no settings from elsewhere before`);
  return readMachineSettings(fromBase64(previous.document)).settings;
}
