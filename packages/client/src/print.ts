import type { MachineStateView, PrintView } from '@millrace/api';
import { isErrorCode, MillraceError, sleep } from '@millrace/base';
import type { OwnerState, PrintCommand } from '@millrace/protocol';
import { openLive, openReport } from './owner-view.ts';
import { CONTENT_BYTES, SEALED_BYTES } from './prepared.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

/** Final states. */
const ENDED: ReadonlySet<PrintView['state']> = new Set(['completed', 'failed', 'alarmed', 'refused', 'cancelled']);

const POLL_MS = 200;

/**
 * Signs and submits a print.
 * @returns its identifier
 * @param startWithinMs the print is refused if its machine has not started within this time
 * @throws {MillraceError} E_LICENCE_EXHAUSTED and others
 */
export async function requestPrint(
  session: Session,
  licence: string,
  machine: string,
  startWithinMs?: number,
): Promise<string> {
  const body = { type: 'print.request', licence, machine } as const;
  const transaction = await signNew(session, body, session.random(16), startWithinMs);
  await session.api.submit(transaction.bytes);
  return transaction.id;
}

/** Cancels a print that waits in the queue. @throws {MillraceError} E_STATE if it does not wait, E_FORBIDDEN */
export async function cancelPrint(session: Session, print: string): Promise<void> {
  await session.api.submit((await signNew(session, { type: 'print.cancel', print })).bytes);
}

/**
 * Moves a print that waits before the other prints that its holder has on that machine.
 * @throws {MillraceError} E_STATE if it does not wait, E_FORBIDDEN
 */
export async function movePrintFirst(session: Session, print: string): Promise<void> {
  await session.api.submit((await signNew(session, { type: 'print.first', print })).bytes);
}

/** A command is not obeyed later than this after it was signed, apart from the difference of clocks, ms. */
const COMMAND_MS = 60_000;

/**
 * Commands the machine that makes a print, and waits until it has obeyed. The machine verifies the signature, and does
 * nothing to another print.
 * @param cause up to 120 characters, which go to the ledger
 * @throws {MillraceError} E_STATE if the print does not run or is already in that state, E_FORBIDDEN, E_UNAVAILABLE if
 *   the machine takes no command, E_TIMEOUT if it does not say what became of it
 */
export async function commandPrint(
  session: Session,
  print: string,
  command: PrintCommand,
  cause?: string,
): Promise<void> {
  const body = { type: 'print.command', print, command, ...(cause === undefined ? {} : { cause }) } as const;
  const { bytes } = await signNew(session, body, session.random(16), COMMAND_MS);
  await session.api.commandPrint(print, command, bytes);
}

/** Queued prints, of one machine or of all, in the order in which each machine makes them. */
export async function queuedPrints(session: Session, machine?: string): Promise<PrintView[]> {
  const waiting = (await session.api.prints()).filter(({ state }) => state === 'queued');
  return waiting
    .filter((view) => machine === undefined || view.machine === machine)
    .sort((a, b) => a.machine.localeCompare(b.machine) || (a.place ?? 0) - (b.place ?? 0));
}

/** The current state of a print, with rates computed from two observations. */
export interface PrintLook {
  readonly view: PrintView;
  readonly machine: MachineStateView | undefined;
  /** Position of the machine; only for the owner of the design. */
  readonly own: OwnerState | undefined;
  /** Over the last few seconds. */
  readonly hintsPerSecond: number;
  readonly overhead: number | undefined;
}

export interface PrintOutcome {
  readonly view: PrintView;
  /** The machine's last state report. */
  readonly machine: MachineStateView | undefined;
  /** The machine's final report, sealed to the owner. Undefined for other users. */
  readonly facts: PrintFacts | undefined;
  readonly revision: number;
  readonly hintsPerSecond: number;
  readonly overhead: number | undefined;
  readonly milliseconds: number;
}

export interface PrintFacts {
  readonly lines: number | undefined;
  readonly layers: number | undefined;
  /** Number of executed design bytes. */
  readonly bytes: number;
  readonly filamentMm: number | undefined;
}

/** Observes a print until it ends. Waits for a node that is restarted in the meantime. */
export async function watchPrint(
  session: Session,
  print: string,
  look: (look: PrintLook) => void,
): Promise<PrintOutcome> {
  const { api, clock, signal } = session;
  const begun = clock.monotonic();
  const rate = new Rate();
  let machine: MachineStateView | undefined;
  let acked = 0;
  let own: OwnerState | undefined;
  let revision = 0;
  // Undefined if unknown; 'several' after a change. Bytes cannot then be computed from hints.
  let order: number | 'several' | undefined;
  for (;;) {
    const view = await api.print(print);
    const now = clock.monotonic();
    if (view.progress !== undefined) {
      revision = Math.max(revision, view.progress.revision ?? 0);
      machine = view.progress.machine ?? machine;
      own = newer(own, await openLive(session, view));
      const said = view.progress.matrix?.order;
      order = order === undefined || said === undefined || said === order ? (order ?? said) : 'several';
      rate.add(now, machine?.hints ?? 0);
    }
    acked = Math.max(acked, view.progress?.acked ?? 0);
    const overhead = machine && overheadOf(machine, order === 'several' ? undefined : order, acked);
    look({ view, machine, own, hintsPerSecond: rate.recent(), overhead });
    if (ENDED.has(view.state)) {
      const facts = await factsOf(session, view.object);
      const milliseconds = now - begun;
      return { view, machine, facts, revision, hintsPerSecond: rate.whole(), overhead, milliseconds };
    }
    await sleep(POLL_MS, signal);
  }
}

/** Control may show an older state again; the machine's clock orders them. */
function newer(known: OwnerState | undefined, shown: OwnerState | undefined): OwnerState | undefined {
  return known !== undefined && (shown === undefined || shown.time < known.time) ? known : shown;
}

async function factsOf(session: Session, object: string | undefined): Promise<PrintFacts | undefined> {
  if (object === undefined) return undefined;
  const { events } = await session.api.object(object);
  const last = events.findLast(({ type }) => type === 'completed' || type === 'failed');
  const facts = last && (await openReport(session, object, last));
  if (facts === undefined) return undefined;
  const { line: lines, layer: layers, bytes, filament: filamentMm } = facts;
  return { lines, layers, bytes, filamentMm };
}

/**
 * Bytes on the wire per design byte carried by their hints. This is correct at any point of a print; the number of
 * executed bytes is not, because it lags by the buffered amount.
 * @param order order of the machine's matrix, 16 or 24; if unknown, the acknowledged segments are used
 * @param acked number of segments that the machine has consumed
 */
export function overheadOf(
  { hints, wire }: Pick<MachineStateView, 'hints' | 'wire'>,
  order: number | undefined,
  acked: number,
): number | undefined {
  if (hints === undefined || wire === undefined) return undefined;
  const segments = order === undefined ? acked : (hints * order) / 8 / SEALED_BYTES;
  const carried = segments * CONTENT_BYTES;
  return carried > 0 ? wire / carried : undefined;
}

/** @throws {MillraceError} the code with which the print ended, if it was not completed */
export function requireCompleted({ view }: PrintOutcome): void {
  if (view.state === 'completed') return;
  const code = isErrorCode(view.code) ? view.code : view.state === 'alarmed' ? 'E_ALARM' : 'E_MACHINE';
  const what = view.object === undefined ? `print ${view.print}` : `object ${view.object}`;
  const next = view.next === undefined ? '' : `. Next: ${view.next}`;
  throw new MillraceError(code, `${what} ${view.state}: ${view.reason ?? 'no reason was given'}${next}`, {
    data: { print: view.print, state: view.state, ...(view.object === undefined ? {} : { object: view.object }) },
  });
}

/** Hints per second over a few seconds, and over the whole time in which hints arrived. */
class Rate {
  readonly #windowMs = 3_000;
  #points: { time: number; hints: number }[] = [];
  #first: { time: number; hints: number } | undefined;
  #last: { time: number; hints: number } | undefined;

  add(time: number, hints: number): void {
    if (this.#last !== undefined && hints < this.#last.hints) {
      // A resumed stream restarts its counts at zero.
      this.#points = [];
      this.#first = undefined;
    }
    if (this.#last?.hints !== hints) this.#last = { time, hints };
    if (hints === 0) return;
    this.#first ??= { time, hints };
    this.#points.push({ time, hints });
    while (this.#points.length > 2 && (this.#points[0]?.time ?? time) < time - this.#windowMs) this.#points.shift();
  }

  recent(): number {
    return between(this.#points[0], this.#points.at(-1));
  }

  whole(): number {
    return between(this.#first, this.#last);
  }
}

function between(from: { time: number; hints: number } | undefined, to: { time: number; hints: number } | undefined) {
  if (from === undefined || to === undefined || to.time <= from.time) return 0;
  return ((to.hints - from.hints) * 1000) / (to.time - from.time);
}
