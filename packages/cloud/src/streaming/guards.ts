import type { Clock } from '@millrace/base';
import type { PaceGuard } from './pace.ts';

/** What an object leaves behind is kept for so long at least, and as long as its bucket fills. */
const KEEP_MS = 15 * 60_000;
/** Objects that nothing streams to now; the one that was left first goes first. */
const MOST = 10_000;

interface Entry {
  readonly guard: PaceGuard;
  /** When its last stream ended, on the monotonic clock; undefined while one runs. */
  leftAt: number | undefined;
  /** The segment whose cell was missing last, and how often. */
  missed: { readonly segment: number; readonly times: number } | undefined;
}

/**
 * What a proactive node remembers of an object between its sessions, in memory: the bucket that a resumed stream finds as it
 * was left. A bucket that has had the time to fill is forgotten: a new one is the same.
 */
export class Guards {
  readonly #entries = new Map<string, Entry>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** A stream of the object begins. @param make its guard, when there is none */
  enter(object: string, make: () => PaceGuard): PaceGuard {
    this.#forget();
    const entry = this.#entries.get(object) ?? { guard: make(), leftAt: undefined, missed: undefined };
    entry.leftAt = undefined;
    this.#entries.set(object, entry);
    return entry.guard;
  }

  /** Segments that are known here to have been acknowledged. */
  acked(object: string): number {
    return this.#entries.get(object)?.guard.acked ?? 0;
  }

  /** The object's stream has ended and may be resumed. */
  leave(object: string): void {
    const entry = this.#entries.get(object);
    if (entry === undefined) return;
    entry.leftAt = this.#clock.monotonic();
    // The map's order is the order of leaving.
    this.#entries.delete(object);
    this.#entries.set(object, entry);
  }

  /** Nothing of the object will be streamed again. */
  drop(object: string): void {
    this.#entries.delete(object);
  }

  /** Counts how often running it was the same segment. */
  missed(object: string, segment: number): number {
    const entry = this.#entries.get(object);
    if (entry === undefined) return 1;
    const times = entry.missed?.segment === segment ? entry.missed.times + 1 : 1;
    entry.missed = { segment, times };
    return times;
  }

  #forget(): void {
    const now = this.#clock.monotonic();
    let over = this.#entries.size - MOST;
    for (const [object, { leftAt, guard }] of this.#entries) {
      if (leftAt === undefined) continue;
      if (over > 0 || now - leftAt > Math.max(KEEP_MS, guard.fillMs)) {
        this.#entries.delete(object);
        over--;
      }
    }
  }
}
