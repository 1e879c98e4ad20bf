import { type Bytes, MillraceError, systemRandom, toHex } from '@millrace/base';
import {
  type MachineReport,
  machineAccount,
  type Odometer,
  type PermitRequest,
  readMachineDocument,
  readSpoolLoad,
  requireLicensed,
  spoolFacts,
  type TransactionOf,
} from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import { amended } from './amended.ts';
import type { ControlContext } from './context.ts';
import { membershipOf } from './groups.ts';
import type { OdometerRecord } from './material-records.ts';
import type { PrintRecord } from './records.ts';
import type { Submitted } from './submitted.ts';

// A machine's own odometer, compared with what control has permitted. The machine's signed statements are in the ledger,
// in its requests and reports.

/** What a machine may use between two objects, for example to purge after a change of filament. */
const IDLE: Readonly<Record<keyof Odometer, number>> = {
  ...{ minutes: 5, spindle: 5, metres: 1, grams: 3, started: 0, ended: 0 },
};
const FIELDS = ['minutes', 'spindle', 'metres', 'grams', 'started', 'ended'] as const;
const UNITS: Readonly<Partial<Record<keyof Odometer, string>>> = { spindle: 'minutes of the spindle' };

/**
 * Compares the odometer of a machine that wants to begin an object. A gap raises an alarm: it is recorded in the
 * machine's account of the ledger, with the request. Until an owner clears it, no object of that owner begins there.
 * @throws {MillraceError} E_ALARM
 */
export async function checkOdometer(
  { records, clock, logger, ledger }: ControlContext,
  machine: string,
  { odometer, issued }: PermitRequest,
  request: Bytes,
  owner: string,
): Promise<void> {
  const known = await records.odometers.get(machine);
  if (known === undefined && odometer === undefined) return;
  const reason = known === undefined ? undefined : gapOf(known, odometer);
  const at = clock.now();
  if (known !== undefined && reason !== undefined) {
    const alarm = toHex(systemRandom(16));
    logger.warn({ machine, reason }, 'gap in the odometer of a machine: owners have to clear the alarm');
    const body = { by: 'control', reason, code: 'E_ALARM', alarm };
    const event = { account: machineAccount(machine), type: 'alarmed' as const, actor: machine, body };
    await ledger.append({ ...event, evidence: [request], eventId: `odometer/${machine}/${issued}` });
    const after = odometer === undefined ? {} : { after: odometer };
    await records.odometers.put(machine, {
      ...{ ...known, at, last: odometer ?? known.last, cleared: [] },
      alarm: { alarm, at, reason, before: known.last, ...after },
    });
  } else if (odometer !== undefined) {
    const first = { machine, counted: { ended: 0, metres: 0, grams: 0 }, cleared: [] };
    await records.odometers.put(machine, { ...first, ...known, last: odometer, at, running: known?.running ?? false });
  }
  const now = await records.odometers.get(machine);
  if (now?.alarm !== undefined && !now.cleared.includes(owner))
    throw new MillraceError(
      'E_ALARM',
      `the odometer of machine ${machine} ${now.alarm.reason}: the owner looks into it and clears it: \`millrace alarm clear ${machine}\``,
      { data: { machine, alarm: now.alarm.alarm } },
    );
}

/** An object was permitted: until it ends, the odometer may advance. */
export async function beginRunning({ records }: ControlContext, machine: string): Promise<void> {
  const known = await records.odometers.get(machine);
  if (known !== undefined && !known.running) await records.odometers.put(machine, { ...known, running: true });
}

/** What is wrong with an odometer; undefined if it may follow the last one. */
function gapOf({ last, running }: OdometerRecord, odometer: Odometer | undefined): string | undefined {
  if (odometer === undefined) return 'is missing from its request';
  const change = (field: (typeof FIELDS)[number]) => {
    const [from, to] = [last[field] ?? 0, odometer[field] ?? 0];
    return { by: to - from, said: `from ${from} to ${to} ${UNITS[field] ?? field}` };
  };
  const back = FIELDS.find((field) => change(field).by < 0);
  if (back !== undefined) return `went back ${change(back).said}`;
  if (running) return undefined;
  const ahead = FIELDS.find((field) => change(field).by > IDLE[field]);
  return ahead && `advanced ${change(ahead).said} without a permit`;
}

/** What a report that ends an object counts for. */
interface Counted {
  readonly machine: string;
  /** The object's account in the ledger. */
  readonly account: string;
  /** The only spool that the machine can charge: the one with which the object was permitted. */
  readonly spool: string | undefined;
}

/**
 * Counts a report that ends an object, here or at another cloud: the machine's odometer, and the material of its spool.
 * An object counts once, because another report of it would explain what the machine made without a permit. Runs before
 * the ledger has the report, because a count that is too high harms nobody.
 */
export async function countReport(
  context: ControlContext,
  report: Pick<MachineReport, 'id' | 'event' | 'odometer' | 'used'>,
  of: Counted,
): Promise<void> {
  if (report.event !== 'completed' && report.event !== 'failed') return;
  // The machine's next request waits, because it compares and changes the same record.
  await context.mutexes.run(of.machine, async () => {
    const events = await context.ledger.account(of.account);
    const isEnded = events.some(({ event }) => event.type === 'completed' || event.type === 'failed');
    if (!isEnded) await countOnce(context, report, of);
  });
}

async function countOnce(
  { records, clock }: ControlContext,
  { id, odometer, used: stated }: Pick<MachineReport, 'id' | 'odometer' | 'used'>,
  { machine, spool: permitted }: Counted,
): Promise<void> {
  const known = (await records.odometers.get(machine)) ?? (odometer && firstRecord(machine, odometer, clock.now()));
  const report = toHex(id);
  if (known === undefined || known.report === report) return;
  const used = stated !== undefined && stated.spool === permitted ? stated : undefined;
  if (used !== undefined && (await records.spools.get(used.spool)) !== undefined)
    await records.spools.update(used.spool, (spool) => ({ ...spool, used: spool.used + used.grams }));
  const { counted } = known;
  await records.odometers.put(machine, {
    ...{ ...known, report, running: false, at: clock.now(), last: odometer ?? known.last },
    counted: {
      ended: counted.ended + 1,
      metres: counted.metres + (used?.metres ?? 0),
      grams: counted.grams + (used?.grams ?? 0),
    },
  });
}

const firstRecord = (machine: string, last: Odometer, at: number): OdometerRecord => ({
  ...{ machine, counted: { ended: 0, metres: 0, grams: 0 }, cleared: [], last, at, running: true },
});

/** The spool in the machine's newest request for the object. */
export function permittedSpool({ permit }: PrintRecord): string | undefined {
  if (permit === undefined) return undefined;
  const request = readMachineDocument(permit.request);
  if (request.type !== 'permit.request' || request.spool === undefined) return undefined;
  return spoolFacts(readSpoolLoad(request.spool.load)).spool;
}

/**
 * An owner has looked into an alarm.
 * @throws {MillraceError} E_NOT_FOUND, E_FORBIDDEN, E_STATE, E_LICENCE_INVALID (the licence is not for the machine)
 */
export async function clearOdometer(
  context: ControlContext,
  { body, actor, bytes }: Submitted<TransactionOf<'odometer.clear'>>,
) {
  const { machine, licence, alarm } = body;
  const { records, ledger } = context;
  const record = await records.licences.require(licence);
  const { owner } = record;
  authorize(actor, 'alarm.clear', { owner });
  const { terms } = await amended(context, record);
  const registered = await records.machines.require(machine);
  const membership = await membershipOf(context, terms, registered);
  const { cloud } = registered;
  await requireLicensed(registered.registration, machine, terms, { cloud, membership, directory: context.directory });
  return context.mutexes.run(machine, async () => {
    const known = await records.odometers.require(machine);
    if (known.alarm?.alarm !== alarm || known.cleared.includes(owner))
      throw new MillraceError('E_STATE', `the odometer of machine ${machine} has no such alarm to be cleared`);
    await ledger.append({
      account: machineAccount(machine),
      type: 'inspected',
      actor: actor.name,
      body: { fact: 'odometer cleared', alarm },
      evidence: [bytes],
      eventId: `odometer/${alarm}/${owner}`,
    });
    await records.odometers.put(machine, { ...known, cleared: [...known.cleared, owner] });
    return { machine };
  });
}
