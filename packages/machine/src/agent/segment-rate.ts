/** Segments by which the rate is judged. */
const SAMPLES = 8;

/** How fast the machine takes segments, judged by the latest ones. */
export class SegmentRate {
  readonly #takenAt: number[] = [];

  /** The machine has taken a segment. @param now monotonic ms */
  taken(now: number): void {
    this.#takenAt.push(now);
    if (this.#takenAt.length > SAMPLES) this.#takenAt.shift();
  }

  /** Milliseconds that the machine needs for so many segments; 0 while its rate is not known. */
  millisecondsFor(segments: number): number {
    const [first, last] = [this.#takenAt[0], this.#takenAt.at(-1)];
    if (first === undefined || last === undefined || this.#takenAt.length < 3) return 0;
    return (segments * (last - first)) / (this.#takenAt.length - 1);
  }
}
