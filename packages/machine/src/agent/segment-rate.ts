/** Number of segments used to estimate the rate. */
const SAMPLES = 8;

/** Estimates how fast the machine takes segments, from the latest ones. */
export class SegmentRate {
  readonly #takenAt: number[] = [];

  /** The machine took a segment. @param now monotonic ms */
  taken(now: number): void {
    this.#takenAt.push(now);
    if (this.#takenAt.length > SAMPLES) this.#takenAt.shift();
  }

  /** Time that the machine needs for `segments`, ms; 0 while its rate is unknown. */
  millisecondsFor(segments: number): number {
    const [first, last] = [this.#takenAt[0], this.#takenAt.at(-1)];
    if (first === undefined || last === undefined || this.#takenAt.length < 3) return 0;
    return (segments * (last - first)) / (this.#takenAt.length - 1);
  }
}
