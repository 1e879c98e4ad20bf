import type { ControlContext } from './context.ts';
import type { PrintRecord } from './records.ts';

/** Machines that wait for work: `next` answers as soon as there is a print, or empty at the time-out. */
export class WorkBoard {
  /** One for each machine: who asks again ends what it asked before. */
  readonly #asking = new Map<string, AbortController>();
  readonly #waiting = new Map<string, () => void>();
  /** Prints that were queued for each machine; those that wait no more are dropped when somebody looks. */
  readonly #queued = new Map<string, Set<string>>();

  /** Of a process that was started again. */
  async load({ records }: Pick<ControlContext, 'records'>): Promise<void> {
    for await (const [print, { machine, state }] of records.prints.list())
      if (state === 'queued') this.#queuedOf(machine).add(print);
  }

  /** Another print for the machine. */
  add(machine: string, print: string): void {
    this.#queuedOf(machine).add(print);
    this.#waiting.get(machine)?.();
  }

  async next(
    context: ControlContext,
    machine: string,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<PrintRecord | undefined> {
    const deadline = Date.now() + waitMs;
    this.#asking.get(machine)?.abort();
    const asking = new AbortController();
    this.#asking.set(machine, asking);
    const ended = AbortSignal.any([signal, asking.signal]);
    try {
      for (;;) {
        const woken = this.#wait(machine, deadline - Date.now(), ended);
        const print = await this.#oldest(context, machine);
        if (print !== undefined || ended.aborted || Date.now() >= deadline) return print;
        await woken;
      }
    } finally {
      asking.abort(); // takes its timer with it
      if (this.#asking.get(machine) === asking) this.#asking.delete(machine);
    }
  }

  async #oldest({ records, damaged }: ControlContext, machine: string): Promise<PrintRecord | undefined> {
    const queued = this.#queuedOf(machine);
    let oldest: PrintRecord | undefined;
    for (const print of queued) {
      let record: PrintRecord | undefined;
      await damaged.attempt('print', print, async () => {
        record = await records.prints.get(print);
      });
      if (record?.state !== 'queued') queued.delete(print);
      else if (oldest === undefined || record.created < oldest.created) oldest = record;
    }
    return oldest;
  }

  #queuedOf(machine: string): Set<string> {
    const known = this.#queued.get(machine) ?? new Set();
    this.#queued.set(machine, known);
    return known;
  }

  #wait(machine: string, timeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        if (this.#waiting.get(machine) === done) this.#waiting.delete(machine);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#waiting.set(machine, done);
      const timer = setTimeout(done, Math.max(0, timeoutMs));
      signal.addEventListener('abort', done, { once: true });
    });
  }
}
