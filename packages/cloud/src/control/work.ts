import type { ControlContext } from './context.ts';
import type { PrintRecord } from './records.ts';

/** The oldest print that waits for the machine. */
async function oldestQueued({ records }: ControlContext, machine: string): Promise<PrintRecord | undefined> {
  let oldest: PrintRecord | undefined;
  for await (const [, print] of records.prints.list()) {
    if (
      print.machine === machine &&
      print.state === 'queued' &&
      (oldest === undefined || print.created < oldest.created)
    ) {
      oldest = print;
    }
  }
  return oldest;
}

/** Machines that wait for work: `next` answers as soon as there is a print, or empty at the time-out. */
export class WorkBoard {
  readonly #waiting = new Map<string, Set<() => void>>();

  wake(machine: string): void {
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
      const print = await oldestQueued(context, machine);
      if (print !== undefined || signal.aborted || Date.now() >= deadline) return print;
      await woken;
    }
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
