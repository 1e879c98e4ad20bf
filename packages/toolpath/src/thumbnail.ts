import { ToolPath } from './path.ts';

/** So many long beads are drawn within a second or two. */
const defaultMoves = 32_000;

/**
 * A path that is kept for a small picture: bounded, whatever the design's size. When it is full it forgets every other
 * layer and goes on with every other one, so that the shape stays whole.
 */
export class ThumbnailPath {
  readonly #most: number;
  #path: ToolPath;
  #every = 1;
  #x = 0;
  #y = 0;
  #z = 0;
  #skipped = false;

  constructor(mostMoves: number = defaultMoves) {
    this.#most = mostMoves;
    this.#path = new ToolPath(mostMoves);
  }

  get path(): ToolPath {
    return this.#path;
  }

  add(x: number, y: number, z: number, extruding: boolean, layer: number): void {
    if (this.#path.length + 2 > this.#most) this.#thin();
    if (layer % this.#every === 0) {
      // To where the tool is, after layers that were left out.
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
    this.#path = new ToolPath(this.#most);
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
    // One layer alone that is too long: nothing is left to thin out.
    if (this.#path.length + 2 > this.#most) this.#path = new ToolPath(this.#most);
    this.#skipped ||= this.#x !== x || this.#y !== y || this.#z !== z;
    [this.#x, this.#y, this.#z] = [x, y, z];
  }
}
