import type { Clock } from '@millrace/base';
import type { PaceGuard } from './pace.ts';

/** Minimum time for which an object's entry is kept, ms. It is also kept until its bucket is full. */
const KEEP_MS = 15 * 60_000;
/** Maximum number of entries of objects without a stream. The oldest is dropped first. */
const MAX_OBJECTS = 10_000;

interface Entry {
  readonly guard: PaceGuard;
  /** When the object's last stream ended, on the monotonic clock. Undefined while a stream runs. */
  leftAt: number | undefined;
  /** The segment whose cell was missing last, and the number of times in a row. */
  missed: { readonly segment: number; readonly times: number } | undefined;
}

/**
 * Pace guards of objects, kept in memory between sessions: a resumed stream continues with the bucket of the previous
 * stream. A bucket that is full again is dropped, because a new one is equal to it.
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

  /** Starts a stream of the object. @param make creates the guard of an object that has none */
  enter(object: string, make: () => PaceGuard): PaceGuard {
    this.#forget();
    const entry = this.#entries.get(object) ?? { guard: make(), leftAt: undefined, missed: undefined };
    entry.leftAt = undefined;
    this.#entries.set(object, entry);
    return entry.guard;
  }

  /** Number of segments that the machine has acknowledged, as reported to this node. */
  acked(object: string): number {
    return this.#entries.get(object)?.guard.acked ?? 0;
  }

  /** Records that the object's stream has ended. The stream may be resumed. */
  leave(object: string): void {
    const entry = this.#entries.get(object);
    if (entry === undefined) return;
    entry.leftAt = this.#clock.monotonic();
    // Insert again, so that the map is ordered by the time at which streams ended.
    this.#entries.delete(object);
    this.#entries.set(object, entry);
  }

  /** Drops the guard of an object that will not be streamed again. */
  drop(object: string): void {
    this.#entries.delete(object);
  }

  /** Records a missing cell. @returns how many times in a row this segment's cell was missing */
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
