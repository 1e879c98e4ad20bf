import { type Bytes, copyBytes, equalBytes, MillraceError, toMillraceError } from '@millrace/base';
import { keyName } from '@millrace/identity';
import {
  CLOCK_SKEW_MS,
  readMachineSettings,
  registrationHash,
  sha256,
  signMachineDocument,
  verifyMachineSettings,
} from '@millrace/protocol';
import type { SettingsWork } from './control-calls.ts';
import type { AgentParts } from './parts.ts';
import { checkRegistration } from './permit.ts';
import { type SettingsState, settingsFile, underRemote } from './remote-settings.ts';

/** Validity of a report: it may wait a long time on the machine's disk. */
const REPORT_MS = 30 * 86_400_000;

type Parts = Pick<AgentParts, 'config' | 'outbox' | 'clock' | 'random' | 'logger'>;

/**
 * Takes settings between two prints: verifies them, records them in one write, and signs a report for the organisation.
 * @returns whether the agent has to start again with them
 * @throws {MillraceError} E_DISK_FULL, E_STORE; E_SIGNATURE or E_INPUT for a statement that cannot be read
 */
export async function takeSettings(parts: Parts, work: SettingsWork): Promise<boolean> {
  const { config, outbox, clock, random, logger } = parts;
  const { number } = readMachineSettings(work.statement.transaction);
  const hash = sha256(work.statement.transaction);
  let isNew = false;
  let code: string | undefined;
  try {
    isNew = await applied(parts, work, hash);
    logger.info({ number, isNew }, 'settings of the organisation taken');
  } catch (cause) {
    const error = toMillraceError(cause);
    if (error.retryable || error.code === 'E_STORE') throw error;
    logger.warn({ err: error, number }, 'settings of the organisation refused; the former ones stay in force');
    code = error.code;
  }
  const issued = clock.now();
  const report = await signMachineDocument(config.machineKey, config.directory.installation, {
    type: 'settings.report',
    ...{ id: random(16), issued, expires: issued + REPORT_MS },
    ...{ machine: keyName(config.machineKey.publicKey), statement: hash, number },
    ...(code === undefined ? { outcome: 'applied' as const } : { outcome: 'refused' as const, code }),
  });
  await outbox.add(report);
  return isNew;
}

/** @returns whether they were not in force yet */
async function applied({ config, clock }: Parts, work: SettingsWork, hash: Bytes): Promise<boolean> {
  const { directory, machineKey, own, drivers } = config;
  if (!config.remoteSettings)
    throw new MillraceError('E_FORBIDDEN', 'machine.json of this machine refuses settings from elsewhere');
  checkRegistration(config, work);
  const named = { machine: keyName(machineKey.publicKey), registration: registrationHash(work.machine) };
  const { statement, assignment } = await verifyMachineSettings(work, named, directory);
  const { number, settings } = statement.body;
  if (number > clock.now() + CLOCK_SKEW_MS)
    throw new MillraceError('E_CLOCK', 'the statement is dated in the future: none after it would count');
  const file = settingsFile(config.data, { key: machineKey, installation: directory.installation });
  const known = await file.read();
  if (known !== undefined && isInForce(known, { number, assignment: assignment.number, hash })) return false;
  underRemote(own, settings, drivers);
  await file.write({ number, assignment: assignment.number, statement: copyBytes(statement.bytes), hash });
  return true;
}

/** @throws {MillraceError} E_REPLAY for an older statement */
function isInForce(known: SettingsState, given: Pick<SettingsState, 'number' | 'assignment' | 'hash'>): boolean {
  if (given.assignment < known.assignment)
    throw new MillraceError('E_REPLAY', 'a newer statement on who holds the machine is known');
  const isSame = given.number === known.number && equalBytes(given.hash, known.hash);
  if (given.number <= known.number && !isSame)
    throw new MillraceError('E_REPLAY', 'newer settings of this machine are known', { data: { newest: known.number } });
  return isSame;
}
