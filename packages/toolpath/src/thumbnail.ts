import { ToolPath } from './path.ts';

/** Number of moves, as long beads, that can be drawn within one or two seconds. */
const DEFAULT_MOVES = 32_000;

/**
 * A path kept for a small picture: bounded, whatever the design's size. When full, it drops every other layer and from
 * then on keeps only every other one, so that the shape stays complete.
 */
export class ThumbnailPath {
  readonly #maxMoves: number;
  #path: ToolPath;
  #every = 1;
  #x = 0;
  #y = 0;
  #z = 0;
  #skipped = false;

  constructor(maxMoves: number = DEFAULT_MOVES) {
    this.#maxMoves = maxMoves;
    this.#path = new ToolPath(maxMoves);
  }

  get path(): ToolPath {
    return this.#path;
  }

  add(x: number, y: number, z: number, extruding: boolean, layer: number): void {
    if (this.#path.length + 2 > this.#maxMoves) this.#thin();
    if (layer % this.#every === 0) {
      // Layers were skipped: first move to the tool's current position.
      if (this.#skipped) this.#path.add(this.#x, this.#y, this.#z, false, layer);
      this.#path.add(x, y, z, extruding, layer);
      this.#skipped = false;
    } else {
      this.#skipped = true;
    }
    this.#x = x;
    this.#y = y;
    this.#z = z;
  }

  #thin(): void {
    this.#every *= 2;
    const before = this.#path;
    this.#path = new ToolPath(this.#maxMoves);
    const [x, y, z] = [this.#x, this.#y, this.#z];
    [this.#x, this.#y, this.#z] = [0, 0, 0];
    this.#skipped = false;
    before.each(({ x: ex, y: ey, z: ez, extruding, layer }) => {
      if (layer % this.#every === 0) {
        if (this.#skipped) this.#path.add(this.#x, this.#y, this.#z, false, layer);
        this.#path.add(ex, ey, ez, extruding, layer);
        this.#skipped = false;
      } else {
        this.#skipped = true;
      }
      [this.#x, this.#y, this.#z] = [ex, ey, ez];
    });
    // A single layer is too long and cannot be thinned out.
    if (this.#path.length + 2 > this.#maxMoves) this.#path = new ToolPath(this.#maxMoves);
    this.#skipped ||= this.#x !== x || this.#y !== y || this.#z !== z;
    [this.#x, this.#y, this.#z] = [x, y, z];
  }
}
