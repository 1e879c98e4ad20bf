import type { Clock } from '@millrace/base';

/** Detects a session that has been silent for too long. */
export class StallWatch {
  readonly #clock: Clock;
  readonly #stallMs: number;
  #heardAt: number;
  /** Time of the last query. */
  #askedAt: number;

  /** @param stallMs maximum silence */
  constructor(clock: Clock, stallMs: number) {
    this.#clock = clock;
    this.#stallMs = stallMs;
    this.#heardAt = clock.monotonic();
    this.#askedAt = this.#heardAt;
  }

  /** Interval between queries, ms. */
  get intervalMs(): number {
    return Math.max(20, Math.min(500, this.#stallMs / 5));
  }

  heard(): void {
    this.#heardAt = this.#clock.monotonic();
  }

  /** Whether the silence is now too long. @param since when data last became due, monotonic ms */
  isStalled(since: number): boolean {
    const now = this.#clock.monotonic();
    // This process was suspended: messages that arrived meanwhile are handled after this.
    if (Math.abs(now - this.#askedAt) > this.#stallMs) this.#heardAt = now;
    this.#askedAt = now;
    return now - Math.max(this.#heardAt, since) > this.#stallMs;
  }
}
