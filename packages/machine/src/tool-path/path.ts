const firstCapacity = 4096;

/**
 * The path of a tool: a list of straight moves, each from where the last one ended, the first from the origin.
 * 16 bytes a move, in single precision (0.015 µm at 250 mm); bounded: what comes after `maxMoves` is only counted.
 */
export class ToolPath {
  readonly maxMoves: number;
  /** Moves that were not kept. */
  dropped = 0;
  #ends = new Float32Array(3 * firstCapacity);
  // Layer in the upper 31 bits, extruding in the lowest.
  #marks = new Uint32Array(firstCapacity);
  #length = 0;

  constructor(maxMoves = 4_000_000) {
    this.maxMoves = maxMoves;
  }

  /** Moves kept. */
  get length(): number {
    return this.#length;
  }

  add(x: number, y: number, z: number, extruding: boolean, layer: number): void {
    const at = this.#length;
    if (at === this.maxMoves) {
      this.dropped += 1;
      return;
    }
    if (at === this.#marks.length) this.#grow();
    this.#ends[3 * at] = x;
    this.#ends[3 * at + 1] = y;
    this.#ends[3 * at + 2] = z;
    this.#marks[at] = layer * 2 + (extruding ? 1 : 0);
    this.#length = at + 1;
  }

  /** X, Y, Z (mm) of the end of every move, one after the other. */
  get ends(): Float32Array {
    return this.#ends.subarray(0, 3 * this.#length);
  }

  /** Does move `index` put down material? */
  extrudes(index: number): boolean {
    return ((this.#marks[index] as number) & 1) === 1;
  }

  /** Layer of move `index`, from 1; 0 before the first extrusion. */
  layer(index: number): number {
    return (this.#marks[index] as number) >>> 1;
  }

  #grow(): void {
    const capacity = Math.min(this.#marks.length * 2, this.maxMoves);
    const ends = new Float32Array(3 * capacity);
    ends.set(this.#ends);
    const marks = new Uint32Array(capacity);
    marks.set(this.#marks);
    this.#ends = ends;
    this.#marks = marks;
  }
}
