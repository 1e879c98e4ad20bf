import type { settingsWork } from '@millrace/api';
import { type Bytes, equalBytes, MillraceError, toBase64, toHex } from '@millrace/base';
import { CLOCK_SKEW_MS, machineSchema, type SettingsReport, sha256, type TransactionOf } from '@millrace/protocol';
import type { z } from 'zod';
import { authorize } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { requireSignerCounting } from './people.ts';
import type { SettingsRecord } from './settings-records.ts';
import { signerView } from './signers.ts';
import type { Submitted } from './submitted.ts';

// Settings of machines that the organisation that holds them has signed (docs/adr/0068). Control carries them and cannot
// make any.

/**
 * Records settings for machines of an organisation. Each machine gets them when it asks for work.
 * @throws {MillraceError} E_FORBIDDEN (no owner-admin or operator; a machine that the organisation does not hold),
 *   E_CONFLICT (newer settings are known), E_CLOCK
 */
export function setMachineSettings(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<TransactionOf<'machine.settings'>>,
): Promise<{ organisation: string }> {
  const { records, clock, printQueue, mutexes } = context;
  const { organisation, number, machines } = body;
  return mutexes.run('settings', async () => {
    authorize(actor, 'settings.set', { organisation });
    const id = toHex(body.id);
    if (number > clock.now() + CLOCK_SKEW_MS)
      throw new MillraceError('E_CLOCK', 'the number of the settings is dated in the future');
    // All are checked first: a statement is recorded for each of its machines, or for none.
    for (const machine of machines) await requireNewer(context, organisation, machine, { id, number });
    for (const machine of machines) {
      const known = await records.settings.get(machine);
      if (known?.id !== id) {
        const previous = known?.state === 'applied' ? statementOf(known) : known?.previous;
        await records.settings.put(machine, {
          ...{ machine, organisation, id, number, transaction: bytes, credential, created: clock.now() },
          state: 'pending',
          ...(previous === undefined ? {} : { previous }),
        });
      }
      printQueue.add({ machine });
    }
    return { organisation };
  });
}

/** @throws {MillraceError} E_FORBIDDEN, E_CONFLICT */
async function requireNewer(
  { records }: ControlContext,
  organisation: string,
  machine: string,
  { id, number }: { readonly id: string; readonly number: number },
): Promise<void> {
  if ((await records.machines.get(machine))?.organisation !== organisation)
    throw new MillraceError('E_FORBIDDEN', `the organisation does not hold machine ${machine}`, { data: { machine } });
  const known = await records.settings.get(machine);
  if (known === undefined || known.id === id || number > known.number) return;
  throw new MillraceError('E_CONFLICT', 'newer settings of this machine are known', {
    data: { machine, newest: known.number },
  });
}

const statementOf = ({ id, number, transaction, credential }: SettingsRecord) => ({
  ...{ id, number, transaction, credential },
});

/**
 * Settings with what a machine needs to verify them. Those of a revoked key, or of a former organisation, are refused.
 * @returns undefined if they were refused
 */
export async function settingsFor(
  { records, directory }: ControlContext,
  { machine, organisation, id, transaction, credential }: SettingsRecord,
): Promise<z.input<typeof settingsWork> | undefined> {
  const record = await records.machines.require(machine);
  try {
    if (record.assignment === undefined || record.organisation !== organisation)
      throw new MillraceError('E_FORBIDDEN', 'another organisation holds the machine now');
    requireSignerCounting(directory, { transaction, credential });
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    const { code } = error;
    await records.settings.update(machine, (now) =>
      now.id === id && now.state === 'pending' ? { ...now, state: 'refused', code } : now,
    );
    return undefined;
  }
  return {
    statement: { transaction, credential },
    assignment: record.assignment.transaction,
    machine: machineSchema.parse(record.registration),
  };
}

/**
 * Records whether a machine has applied its settings. A report on an earlier statement changes nothing.
 * @param caller key name in the certificate of the machine's link
 * @throws {MillraceError} E_FORBIDDEN, E_NOT_FOUND
 */
export async function takeSettingsReport(
  { records }: ControlContext,
  caller: string,
  bytes: Bytes,
  { machine, statement, outcome, code }: SettingsReport,
): Promise<void> {
  authorize({ role: 'machine', name: caller }, 'settings.report', { machine });
  await records.settings.update(machine, (now) => {
    if (!equalBytes(sha256(now.transaction), statement)) return now;
    const { code: _former, ...rest } = now;
    return { ...rest, state: outcome, report: bytes, ...(code === undefined ? {} : { code }) };
  });
}

export async function settingsView(context: ControlContext, record: SettingsRecord) {
  const { machine, organisation, number, created, state, code, transaction, credential, report, previous } = record;
  return {
    ...{ machine, organisation, number, created, state, code },
    setBy: await signerView(context, transaction),
    document: toBase64(transaction),
    credential: toBase64(credential),
    ...(report && { report: toBase64(report) }),
    ...(previous && { previous: { number: previous.number, document: toBase64(previous.transaction) } }),
  };
}
