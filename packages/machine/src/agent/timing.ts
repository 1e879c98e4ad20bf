/** Every wait of the agent, milliseconds. */
export interface Timing {
  /** A call to control without an answer. */
  readonly callMs: number;
  /** How long control may hold the call that asks for work. */
  readonly waitMs: number;
  /** From the permit to the keys node's offer: both proactive nodes poll. */
  readonly offerMs: number;
  /** First and longest pause before a lost stream or call is tried again. */
  readonly backoffMs: readonly [number, number];
  /** What the machine must have ahead of it when a session gives way to another: a call home, an offer, the first frame. */
  readonly changeMs: number;
}

export const defaultTiming: Timing = {
  callMs: 30_000,
  waitMs: 25_000,
  offerMs: 10_000,
  backoffMs: [500, 5_000],
  changeMs: 10_000,
};

/** Pauses that double from the first to the longest. */
export class Backoff {
  readonly #first: number;
  readonly #longest: number;
  #next: number;

  constructor([first, longest]: Timing['backoffMs']) {
    this.#first = first;
    this.#longest = longest;
    this.#next = first;
  }

  next(): number {
    const pause = this.#next;
    this.#next = Math.min(this.#next * 2, this.#longest);
    return pause;
  }

  reset(): void {
    this.#next = this.#first;
  }
}
