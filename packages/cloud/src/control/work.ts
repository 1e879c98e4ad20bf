import type { ControlContext } from './context.ts';
import type { PrintRecord } from './records.ts';

/** Machines that wait for work: `next` answers as soon as there is a print, or empty at the time-out. */
export class WorkBoard {
  readonly #waiting = new Map<string, Set<() => void>>();
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
    for (const wake of this.#waiting.get(machine) ?? []) wake();
  }

  async next(
    context: ControlContext,
    machine: string,
    waitMs: number,
    signal: AbortSignal,
  ): Promise<PrintRecord | undefined> {
    const deadline = Date.now() + waitMs;
    for (;;) {
      const woken = this.#wait(machine, deadline - Date.now(), signal);
      const print = await this.#oldest(context, machine);
      if (print !== undefined || signal.aborted || Date.now() >= deadline) return print;
      await woken;
    }
  }

  async #oldest({ records }: ControlContext, machine: string): Promise<PrintRecord | undefined> {
    const queued = this.#queuedOf(machine);
    let oldest: PrintRecord | undefined;
    for (const print of queued) {
      const record = await records.prints.get(print);
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
      const set = this.#waiting.get(machine) ?? new Set();
      this.#waiting.set(machine, set);
      const done = () => {
        clearTimeout(timer);
        set.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      set.add(done);
      const timer = setTimeout(done, Math.max(0, timeoutMs));
      signal.addEventListener('abort', done, { once: true });
    });
  }
}
