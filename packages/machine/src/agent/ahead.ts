/** Segments by which the machine's pace is judged. */
const LOOK_BACK = 8;

/** How long segments last, by the pace at which the machine has taken the latest ones. */
export class Ahead {
  readonly #taken: number[] = [];

  /** The machine has taken a segment. @param now monotonic ms */
  taken(now: number): void {
    this.#taken.push(now);
    if (this.#taken.length > LOOK_BACK) this.#taken.shift();
  }

  /** Milliseconds that so many segments last; 0 while the pace is not known. */
  lasts(segments: number): number {
    const [first, last] = [this.#taken[0], this.#taken.at(-1)];
    if (first === undefined || last === undefined || this.#taken.length < 3) return 0;
    return (segments * (last - first)) / (this.#taken.length - 1);
  }
}
