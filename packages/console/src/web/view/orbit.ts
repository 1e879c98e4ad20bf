import type { Box } from './camera.ts';

/** What a shader needs of a parallel projection. */
export interface SpaceView {
  /** From mm to clip space, by columns. */
  readonly matrix: Float32Array;
  /** Unit vector towards the viewer. */
  readonly towards: readonly [number, number, number];
  /** Pixels of a millimetre. */
  readonly scale: number;
}

const MARGIN = 0.08;
const START = { around: -1.1, above: 0.6 };

/** A camera that turns around the middle of a box. Angles in radians. */
export class Orbit {
  readonly #box: Box;
  #around = START.around;
  #above = START.above;
  #zoom = 1;
  #x = 0;
  #y = 0;

  constructor(box: Box) {
    this.#box = box;
  }

  turn(around: number, above: number): void {
    this.#around += around;
    this.#above = Math.min(Math.max(this.#above + above, -Math.PI / 2), Math.PI / 2);
  }

  /** In pixels of the canvas. */
  pan(dx: number, dy: number): void {
    this.#x += dx;
    this.#y += dy;
  }

  zoom(factor: number): void {
    const zoom = Math.min(Math.max(this.#zoom * factor, 0.1), 100);
    this.#x *= zoom / this.#zoom;
    this.#y *= zoom / this.#zoom;
    this.#zoom = zoom;
  }

  fit(): void {
    [this.#around, this.#above, this.#zoom, this.#x, this.#y] = [START.around, START.above, 1, 0, 0];
  }

  view(width: number, height: number): SpaceView {
    const { min, max } = this.#box;
    const [sinA, cosA] = [Math.sin(this.#around), Math.cos(this.#around)];
    const [sinE, cosE] = [Math.sin(this.#above), Math.cos(this.#above)];
    const towards = [cosE * cosA, cosE * sinA, sinE] as const;
    const right = [-sinA, cosA, 0] as const;
    const up = [-sinE * cosA, -sinE * sinA, cosE] as const;
    const size = [0, 1, 2].map((axis) => Math.max((max[axis] ?? 0) - (min[axis] ?? 0), 1));
    const middle = [0, 1, 2].map((axis) => ((max[axis] ?? 0) + (min[axis] ?? 0)) / 2);
    const reach = (unit: readonly number[]) => unit.reduce((sum, part, n) => sum + Math.abs(part) * (size[n] ?? 0), 0);
    const room = 1 - 2 * MARGIN;
    const scale = Math.min((width * room) / reach(right), (height * room) / reach(up)) * this.#zoom;
    const depth = 2 * Math.hypot(...size);
    const along = (unit: readonly number[]) => -unit.reduce((sum, part, n) => sum + part * (middle[n] ?? 0), 0);
    const [sx, sy, sz] = [(2 * scale) / width, (2 * scale) / height, -1 / depth];
    const matrix = new Float32Array([
      ...[sx * right[0], sy * up[0], sz * towards[0], 0],
      ...[sx * right[1], sy * up[1], sz * towards[1], 0],
      ...[sx * right[2], sy * up[2], sz * towards[2], 0],
      sx * along(right) + (2 * this.#x) / width,
      sy * along(up) - (2 * this.#y) / height,
      sz * along(towards),
      1,
    ]);
    return { matrix, towards, scale };
  }
}
