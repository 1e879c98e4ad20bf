import type { Clock } from '@millrace/base';
import type { PaceGuard } from './pace.ts';

/** An object's entry is kept for at least this long, and until its bucket is full. */
const KEEP_MS = 15 * 60_000;
/** Entries of objects without a stream. The oldest is dropped first. */
const MAX_OBJECTS = 10_000;

interface Entry {
  readonly guard: PaceGuard;
  /** When its last stream ended, on the monotonic clock; undefined while one runs. */
  leftAt: number | undefined;
  /** The segment whose cell was missing last, and how often in a row. */
  missed: { readonly segment: number; readonly times: number } | undefined;
}

/**
 * Pace guards of objects, kept in memory between their sessions: a resumed stream continues with the bucket of the stream
 * before it. A bucket that has had the time to fill is dropped, because a new one is the same.
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

  /** How many segments the machine has acknowledged, as far as this node knows. */
  acked(object: string): number {
    return this.#entries.get(object)?.guard.acked ?? 0;
  }

  /** The object's stream has ended and may be resumed. */
  leave(object: string): void {
    const entry = this.#entries.get(object);
    if (entry === undefined) return;
    entry.leftAt = this.#clock.monotonic();
    // Keeps the map in the order in which streams ended.
    this.#entries.delete(object);
    this.#entries.set(object, entry);
  }

  /** Nothing of the object will be streamed again. */
  drop(object: string): void {
    this.#entries.delete(object);
  }

  /** Notes a missing cell. @returns how often in a row it was this segment's */
  missed(object: string, segment: number): number {
    const entry = this.#entries.get(object);
    if (entry === undefined) return 1;
    const times = entry.missed?.segment === segment ? entry.missed.times + 1 : 1;
    entry.missed = { segment, times };
    return times;
  }

  #forget(): void {
    const now = this.#clock.monotonic();
    let over = this.#entries.size - MAX_OBJECTS;
    for (const [object, { leftAt, guard }] of this.#entries) {
      if (leftAt === undefined) continue;
      if (over > 0 || now - leftAt > Math.max(KEEP_MS, guard.fillMs)) {
        this.#entries.delete(object);
        over--;
      }
    }
  }
}
