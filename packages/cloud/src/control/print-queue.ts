import type { Clock } from '@millrace/base';
import type { DamagedRecords } from './damaged.ts';
import type { PrintRecord, Records } from './records.ts';

interface Source {
  readonly records: Records;
  readonly damaged: DamagedRecords;
}

type Queued = Pick<PrintRecord, 'print' | 'machine' | 'licence'>;

/** Queued prints by machine and licence. Machines poll with `next`, which returns a print as soon as there is one. */
export class PrintQueue {
  /** The poll of each machine: a second poll ends the first. */
  readonly #asking = new Map<string, AbortController>();
  readonly #waiting = new Map<string, () => void>();
  /** Ids of queued prints, by machine and by licence. Prints that have left the queue are dropped when they are read. */
  readonly #queued = { machine: new Map<string, Set<string>>(), licence: new Map<string, Set<string>>() };

  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Reads the queue of the process before this one. */
  async load({ records }: Pick<Source, 'records'>): Promise<void> {
    for await (const [, print] of records.prints.list()) if (print.state === 'queued') this.#note(print);
  }

  /** Adds a print, and wakes its machine's poll. */
  add(print: Queued): void {
    this.#note(print);
    this.#waiting.get(print.machine)?.();
  }

  /** Queued prints of a machine or a licence. */
  async waiting(context: Source, by: 'machine' | 'licence', id: string): Promise<PrintRecord[]> {
    const queued = this.#queued[by].get(id) ?? new Set();
    const waiting: PrintRecord[] = [];
    for (const print of queued) {
      let record: PrintRecord | undefined;
      await context.damaged.attempt('print', print, async () => {
        record = await context.records.prints.get(print);
      });
      if (record?.state === 'queued') waiting.push(record);
      else queued.delete(print);
    }
    if (queued.size === 0) this.#queued[by].delete(id);
    return waiting;
  }

  #note({ print, machine, licence }: Queued): void {
    for (const [queued, id] of [
      [this.#queued.machine, machine],
      [this.#queued.licence, licence],
    ] as const) {
      const prints = queued.get(id) ?? new Set();
      prints.add(print);
      queued.set(id, prints);
    }
  }

  /** The oldest print queued for the machine; undefined after `waitMs`, or when the signal aborts. */
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
      asking.abort(); // takes its timer with it
      if (this.#asking.get(machine) === asking) this.#asking.delete(machine);
    }
  }

  async #oldest(context: Source, machine: string): Promise<PrintRecord | undefined> {
    let oldest: PrintRecord | undefined;
    for (const record of await this.waiting(context, 'machine', machine))
      if (oldest === undefined || record.created < oldest.created) oldest = record;
    return oldest;
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
