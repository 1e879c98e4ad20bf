import { isErrorCode, MillraceError, sleep } from '@millrace/base';
import type { MachineStateView, PrintView } from './answers.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

/** States in which nothing more happens. */
const ENDED: ReadonlySet<PrintView['state']> = new Set(['completed', 'failed', 'alarmed', 'refused']);

const POLL_MS = 200;

/** Signs and submits a print. Returns its identifier. @throws {MillraceError} E_LICENCE_EXHAUSTED and others */
export async function requestPrint(session: Session, licence: string, machine: string): Promise<string> {
  const transaction = await signNew(session, { type: 'print.request', licence, machine });
  await session.api.submit(transaction.bytes);
  return transaction.id;
}

/** A print as it stands, with what can be reckoned from two looks at it. */
export interface PrintLook {
  readonly view: PrintView;
  readonly machine: MachineStateView | undefined;
  /** Over the last seconds. */
  readonly hintsPerSecond: number;
}

export interface PrintOutcome {
  readonly view: PrintView;
  /** The last that the machine told of itself. */
  readonly machine: MachineStateView | undefined;
  readonly revision: number;
  readonly hintsPerSecond: number;
  readonly milliseconds: number;
}

/** Looks at a print until it ends. A node that is restarted meanwhile is waited for. */
export async function watchPrint(
  session: Session,
  print: string,
  look: (look: PrintLook) => void,
): Promise<PrintOutcome> {
  const { api, clock, signal } = session;
  const begun = clock.monotonic();
  const rate = new Rate();
  let machine: MachineStateView | undefined;
  let revision = 0;
  for (;;) {
    const view = await api.print(print);
    const now = clock.monotonic();
    if (view.progress !== undefined) {
      revision = Math.max(revision, view.progress.revision);
      machine = view.progress.machine ?? machine;
      rate.add(now, machine?.hints ?? 0);
    }
    look({ view, machine, hintsPerSecond: rate.recent() });
    if (ENDED.has(view.state)) {
      return { view, machine, revision, hintsPerSecond: rate.whole(), milliseconds: now - begun };
    }
    await sleep(POLL_MS, signal);
  }
}

/** @throws {MillraceError} the code with which the print ended, unless it was completed */
export function requireCompleted({ view }: PrintOutcome): void {
  if (view.state === 'completed') return;
  const code = isErrorCode(view.code) ? view.code : view.state === 'alarmed' ? 'E_ALARM' : 'E_MACHINE';
  const what = view.object === undefined ? `print ${view.print}` : `object ${view.object}`;
  throw new MillraceError(code, `${what} ${view.state}: ${view.reason ?? 'no reason was given'}`, {
    data: { print: view.print, state: view.state, ...(view.object === undefined ? {} : { object: view.object }) },
  });
}

/** Hints a second over a few seconds, and over the whole time in which hints came. */
class Rate {
  readonly #windowMs = 3_000;
  #points: { time: number; hints: number }[] = [];
  #first: { time: number; hints: number } | undefined;
  #last: { time: number; hints: number } | undefined;

  add(time: number, hints: number): void {
    if (this.#last !== undefined && hints < this.#last.hints) {
      // A resumed stream counts from zero again.
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
