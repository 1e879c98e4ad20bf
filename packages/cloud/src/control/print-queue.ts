import type { Clock } from '@millrace/base';
import type { PrintRecord, Records } from './records.ts';

interface Source {
  readonly records: Records;
}

/** Queued prints by machine and licence. Machines poll with `next`, which returns a print as soon as one is queued. */
export class PrintQueue {
  /** The poll of each machine: a second poll ends the first. */
  readonly #asking = new Map<string, AbortController>();
  readonly #waiting = new Map<string, () => void>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Ends the wait of the machine's poll. */
  add({ machine }: Pick<PrintRecord, 'machine'>): void {
    this.#waiting.get(machine)?.();
  }

  /** Queued prints of a machine or a licence, the oldest first. */
  async waiting({ records }: Source, by: 'machine' | 'licence', id: string): Promise<PrintRecord[]> {
    const waiting: PrintRecord[] = [];
    for await (const [, print] of records.prints.list({ index: 'queued', group: `${by}/${id}` })) waiting.push(print);
    return waiting;
  }

  /**
   * The oldest print queued for the machine that has not expired; undefined after `waitMs`, or when the signal aborts.
   */
  async next(context: Source, machine: string, waitMs: number, signal: AbortSignal): Promise<PrintRecord | undefined> {
    const deadline = this.#clock.monotonic() + waitMs;
    this.#asking.get(machine)?.abort();
    const asking = new AbortController();
    this.#asking.set(machine, asking);
    const ended = AbortSignal.any([signal, asking.signal]);
    try {
      for (;;) {
        const woken = this.#wait(machine, deadline - this.#clock.monotonic(), ended);
        const print = await this.#oldest(context, machine);
        if (print !== undefined || ended.aborted || this.#clock.monotonic() >= deadline) return print;
        await woken;
      }
    } finally {
      asking.abort(); // also clears its timer
      if (this.#asking.get(machine) === asking) this.#asking.delete(machine);
    }
  }

  async #oldest({ records }: Source, machine: string): Promise<PrintRecord | undefined> {
    for await (const [, print] of records.prints.list({ index: 'queued', group: `machine/${machine}` }))
      if (print.startBy >= this.#clock.now() || print.number !== undefined) return print;
    return undefined;
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
