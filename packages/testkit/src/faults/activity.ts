import { MillraceError, sleep } from '@millrace/base';

/** When one operation began and when it was acknowledged, ms since 1970. */
export interface Success {
  readonly began: number;
  readonly ended: number;
}

/** An operation that is repeated until the test ends; what fails is counted and tried again. */
export interface Activity {
  readonly name: string;
  readonly successes: readonly Success[];
  /** How often it failed, by code. */
  readonly failures: ReadonlyMap<string, number>;
  /** Takes the errors that nobody may see: a print that failed, or a mistake of the test. Each is given once. */
  takeBroken(): unknown[];
  close(): Promise<void>;
}

const AGAIN_MS = 300;

export function repeat(name: string, pauseMs: number, once: (signal: AbortSignal) => Promise<void>): Activity {
  const stopping = new AbortController();
  const { signal } = stopping;
  const successes: Success[] = [];
  const failures = new Map<string, number>();
  const broken: unknown[] = [];
  const run = async () => {
    while (!signal.aborted) {
      const began = Date.now();
      try {
        await once(signal);
        successes.push({ began, ended: Date.now() });
        await sleep(pauseMs, signal);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof MillraceError)) broken.push(error);
        const code = error instanceof MillraceError ? error.code : String(error);
        failures.set(code, (failures.get(code) ?? 0) + 1);
        await sleep(AGAIN_MS, signal).catch(() => undefined);
      }
    }
  };
  const ended = run().catch(() => undefined);
  return {
    ...{ name, successes, failures },
    takeBroken: () => broken.splice(0),
    close: async () => {
      stopping.abort();
      await ended;
    },
  };
}

/** Milliseconds from `since` until an operation was acknowledged that had begun after it. */
export function recovery(successes: readonly Success[], since: number): number | undefined {
  const first = successes.find(({ began }) => began >= since);
  return first === undefined ? undefined : first.ended - since;
}

/** Longest time without an acknowledgement that lasted until a moment after `since`. */
export function longestPause(ends: readonly number[], since: number): number {
  const last = ends.filter((end) => end < since).at(-1);
  const times = [...(last === undefined ? [since] : [last]), ...ends.filter((end) => end >= since)];
  return Math.max(0, ...times.slice(1).map((time, i) => time - (times[i] ?? 0)));
}
