import type { Clock } from '@millrace/base';

/** Notices that a session has brought nothing for too long. */
export class StallWatch {
  readonly #clock: Clock;
  readonly #stallMs: number;
  #heardAt: number;
  /** When it was asked last. */
  #askedAt: number;

  /** @param stallMs silence that is too long */
  constructor(clock: Clock, stallMs: number) {
    this.#clock = clock;
    this.#stallMs = stallMs;
    this.#heardAt = clock.monotonic();
    this.#askedAt = this.#heardAt;
  }

  /** How often to ask, ms. */
  get intervalMs(): number {
    return Math.max(20, Math.min(500, this.#stallMs / 5));
  }

  heard(): void {
    this.#heardAt = this.#clock.monotonic();
  }

  /** Whether the silence is too long by now. @param since silence that was due to us ended then, monotonic ms */
  isStalled(since: number): boolean {
    const now = this.#clock.monotonic();
    // This process was suspended: what came meanwhile is handled after this.
    if (Math.abs(now - this.#askedAt) > this.#stallMs) this.#heardAt = now;
    this.#askedAt = now;
    return now - Math.max(this.#heardAt, since) > this.#stallMs;
  }
}
