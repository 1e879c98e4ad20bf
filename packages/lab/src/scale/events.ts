/** A deterministic source of numbers in [0, 1): mulberry32. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Time until the next of events that occur at a mean rate (Poisson), s. */
export const exponential = (random: () => number, rate: number): number => -Math.log(1 - random()) / rate;

interface Planned {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** Events in the order of their times; events of one time in the order of their planning. Time is in seconds. */
export class Timeline {
  readonly #heap: Planned[] = [];
  #now = 0;
  #order = 0;

  get now(): number {
    return this.#now;
  }

  after(seconds: number, run: () => void): void {
    this.#heap.push({ at: this.#now + seconds, order: this.#order++, run });
    for (let i = this.#heap.length - 1; i > 0; ) {
      const parent = (i - 1) >> 1;
      if (!this.#swapIfBefore(i, parent)) break;
      i = parent;
    }
  }

  /** Runs events up to a time, or until none is left. */
  run(until = Number.POSITIVE_INFINITY): void {
    for (let next = this.#heap[0]; next !== undefined && next.at <= until; next = this.#heap[0]) {
      this.#now = next.at;
      this.#removeFirst();
      next.run();
    }
    if (Number.isFinite(until)) this.#now = until;
  }

  #removeFirst(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    for (let i = 0; ; ) {
      const [left, right] = [2 * i + 1, 2 * i + 2];
      const child = right < this.#heap.length && this.#isBefore(right, left) ? right : left;
      if (child >= this.#heap.length || !this.#swapIfBefore(child, i)) return;
      i = child;
    }
  }

  #isBefore(a: number, b: number): boolean {
    const [one, other] = [this.#heap[a], this.#heap[b]];
    if (one === undefined || other === undefined) return false;
    return one.at < other.at || (one.at === other.at && one.order < other.order);
  }

  #swapIfBefore(a: number, b: number): boolean {
    const [one, other] = [this.#heap[a], this.#heap[b]];
    if (one === undefined || other === undefined || !this.#isBefore(a, b)) return false;
    this.#heap[a] = other;
    this.#heap[b] = one;
    return true;
  }
}

/** Servers with one queue, in order of arrival. */
export class Station {
  readonly #timeline: Timeline;
  readonly #waiting: { readonly seconds: number; readonly done: () => void }[] = [];
  #head = 0;
  #free: number;
  /** Time of all servers that was spent, s. */
  busy = 0;

  constructor(timeline: Timeline, servers: number) {
    this.#timeline = timeline;
    this.#free = servers;
  }

  /** @param seconds of one server */
  serve(seconds: number, done: () => void): void {
    this.#waiting.push({ seconds, done });
    this.#next();
  }

  #next(): void {
    while (this.#free > 0) {
      const job = this.#waiting[this.#head];
      if (job === undefined) return;
      this.#head++;
      // Removed in bulk: taking the first of a long array moves all others.
      if (this.#head > 1_024 && 2 * this.#head > this.#waiting.length) {
        this.#waiting.splice(0, this.#head);
        this.#head = 0;
      }
      this.#free--;
      this.busy += job.seconds;
      this.#timeline.after(job.seconds, () => {
        this.#free++;
        job.done();
        this.#next();
      });
    }
  }
}
