import { drawBeads, type Scene } from './beads.ts';
import type { Canvas } from './canvas.ts';
import type { Measure } from './measure.ts';
import { type Colour, ink } from './palette.ts';
import type { ToolPath } from './path.ts';
import type { View } from './view.ts';

/** Pixels of the scene per pixel of the canvas, in each direction. */
export const oversampling = 2;

const reach = 3.2; // mm around a point whose neighbours darken it
const directions = 12;

/** Rows of the canvas drawn at once: a complete scene of a large picture would need 60 MB. */
const band = 300;

/**
 * Draws the part on its plate: beads, background, grid, shadow and ambient occlusion; antialiases the edges.
 * @param rows number of rows of the canvas drawn at once; does not affect the picture
 */
export function stage(canvas: Canvas, view: View, box: Measure, path: ToolPath, rows = band): void {
  const plate = new Plate(view, box, path);
  const nooks = new Nooks(view);
  for (let top = 0; top < canvas.height; top += rows) {
    const end = Math.min(top + rows, canvas.height);
    // A pixel may be darkened from a neighbouring band.
    const from = Math.max(top * oversampling - nooks.margin, 0);
    const height = Math.min(end * oversampling + nooks.margin, canvas.height * oversampling) - from;
    const scene = drawBeads(path, box, view, canvas.width * oversampling, { top: from, height });
    for (let y = top; y < end; y += 1) stageRow(canvas, scene, plate, nooks, y);
  }
}

function stageRow(canvas: Canvas, scene: Scene, plate: Plate, nooks: Nooks, y: number): void {
  const samples = oversampling * oversampling;
  for (let x = 0; x < canvas.width; x += 1) {
    let [red, green, blue, empty] = [0, 0, 0, 0];
    for (let n = 0; n < samples; n += 1) {
      const sx = x * oversampling + (n % oversampling);
      const sy = y * oversampling + ((n / oversampling) | 0) - scene.top;
      const at = sy * scene.width + sx;
      if ((scene.depth[at] as number) === Number.NEGATIVE_INFINITY) {
        empty += 1;
        continue;
      }
      const packed = scene.colour[at] as number;
      const dim = nooks.light(scene, sx, sy);
      red += (packed & 255) * dim;
      green += ((packed >> 8) & 255) * dim;
      blue += ((packed >> 16) & 255) * dim;
    }
    const back = empty === 0 ? ink.top : plate.colour(x, y, y / canvas.height);
    const to = (y * canvas.width + x) * 3;
    canvas.pixels[to] = Math.round((red + back[0] * empty) / samples);
    canvas.pixels[to + 1] = Math.round((green + back[1] * empty) / samples);
    canvas.pixels[to + 2] = Math.round((blue + back[2] * empty) / samples);
  }
}

/** Ambient occlusion: how much light reaches a pixel. Neighbours nearer to the viewer block some of it. */
class Nooks {
  /** Maximum distance of such a neighbour, rows. */
  readonly margin: number;
  readonly #steps: readonly (readonly [dx: number, dy: number, away: number])[];

  constructor(view: View) {
    this.#steps = Array.from({ length: directions * 2 }, (_, n) => {
      const far = n < directions ? 0.35 : 1;
      const angle = ((n % directions) / directions + (n < directions ? 0 : 0.5 / directions)) * 2 * Math.PI;
      const size = reach * far * view.scale;
      return [Math.round(Math.cos(angle) * size), Math.round(Math.sin(angle) * size), reach * far] as const;
    });
    this.margin = Math.max(...this.#steps.map(([, dy]) => Math.abs(dy)));
  }

  /** 0 to 1, for a pixel of the scene where something is drawn. */
  light({ width, height, depth }: Scene, x: number, y: number): number {
    const here = depth[y * width + x] as number;
    let taken = 0;
    for (const [dx, dy, away] of this.#steps) {
      const sx = x + dx;
      const sy = y + dy;
      if (sx < 0 || sy < 0 || sx >= width || sy >= height) continue;
      const higher = (depth[sy * width + sx] as number) - here;
      // In the picture, the plate rises towards the viewer on the lower side: count only what stands clear of a slope.
      if (higher > 0.15) taken += Math.min((higher - 0.15) / away, 1) / (1 + (0.12 * higher) / away);
    }
    return 1 - Math.min((taken / this.#steps.length) * 1.05, 0.78);
  }
}

/** The plate under the part: a 10 mm grid that fades out, and the shadow of the part. */
class Plate {
  readonly #view: View;
  readonly #cell: number; // mm
  readonly #columns: number;
  readonly #rows: number;
  readonly #left: number;
  readonly #front: number;
  readonly #shadow: Float32Array;
  readonly #middle: readonly [number, number];
  readonly #size: number;
  readonly #floor: number;

  constructor(view: View, box: Measure, path: ToolPath) {
    this.#view = view;
    this.#floor = box.min[2] - box.layerHeight;
    this.#size = Math.max(box.max[0] - box.min[0], box.max[1] - box.min[1], 10);
    this.#middle = [(box.min[0] + box.max[0]) / 2, (box.min[1] + box.max[1]) / 2];
    const margin = 14;
    this.#cell = Math.max(0.8, this.#size / 400);
    this.#left = box.min[0] - margin;
    this.#front = box.min[1] - margin;
    this.#columns = Math.ceil((box.max[0] - box.min[0] + 2 * margin) / this.#cell) + 1;
    this.#rows = Math.ceil((box.max[1] - box.min[1] + 2 * margin) / this.#cell) + 1;
    this.#shadow = this.#cast(path);
  }

  /** Colour of the plate, or of the background behind it, at a pixel of the canvas. */
  colour(x: number, y: number, down: number): Colour {
    const { right, up, scale } = this.#view;
    // The point on the plate that this pixel shows: the projection, solved for z = floor.
    const a = ((x + 0.5) * oversampling - this.#view.x) / scale - this.#floor * right[2];
    const b = -((y + 0.5) * oversampling - this.#view.y) / scale - this.#floor * up[2];
    const determinant = right[0] * up[1] - right[1] * up[0];
    const px = (a * up[1] - b * right[1]) / determinant;
    const py = (b * right[0] - a * up[0]) / determinant;
    const away = Math.hypot(px - this.#middle[0], py - this.#middle[1]) / this.#size;
    const fade = Math.max(1 - away / 1.35, 0);
    const pixel = oversampling / scale;
    const line = Math.max(gridLine(px, 10, pixel), gridLine(py, 10, pixel * 1.6));
    const glow = 0.5 * fade * fade;
    const dark = 1 - 0.8 * this.#shadowAt(px, py);
    const out: [number, number, number] = [0, 0, 0];
    for (let part = 0; part < 3; part += 1) {
      const room = (ink.top[part] as number) + ((ink.bottom[part] as number) - (ink.top[part] as number)) * down;
      const lit = room + glow * 46;
      out[part] = (lit + ((ink.grid[part] as number) - lit) * line * fade * 0.5) * dark;
    }
    return out;
  }

  #cast(path: ToolPath): Float32Array {
    const cover = new Float32Array(this.#columns * this.#rows);
    let first = true;
    path.each(({ x0, y0, x, y, extruding }) => {
      const [skipped, dx, dy] = [first || !extruding, x - x0, y - y0];
      first = false;
      if (skipped) return;
      const steps = Math.ceil(Math.hypot(dx, dy) / this.#cell);
      for (let step = 0; step <= steps; step += 1) {
        const share = steps === 0 ? 0 : step / steps;
        const column = Math.round((x0 + dx * share - this.#left) / this.#cell);
        const row = Math.round((y0 + dy * share - this.#front) / this.#cell);
        if (column < 0 || row < 0 || column >= this.#columns || row >= this.#rows) continue;
        cover[row * this.#columns + column] = 1;
      }
    });
    let soft: Float32Array = cover;
    for (let pass = 0; pass < 3; pass += 1) soft = this.#blur(soft, Math.max(Math.round(2.2 / this.#cell), 1));
    return soft;
  }

  #blur(from: Float32Array, radius: number): Float32Array {
    const middle = new Float32Array(from.length);
    const out = new Float32Array(from.length);
    blurLines(from, middle, this.#columns, this.#rows, 1, this.#columns, radius);
    blurLines(middle, out, this.#rows, this.#columns, this.#columns, 1, radius);
    return out;
  }

  #shadowAt(x: number, y: number): number {
    // The light comes from behind the viewer's left shoulder, so the shadow falls slightly to the back.
    const { right } = this.#view;
    const column = (x - right[0] * 1.5 - this.#left) / this.#cell;
    const row = (y - right[1] * 1.5 - this.#front) / this.#cell;
    const c = Math.floor(column);
    const r = Math.floor(row);
    if (c < 0 || r < 0 || c + 1 >= this.#columns || r + 1 >= this.#rows) return 0;
    const at = r * this.#columns + c;
    const s = this.#shadow;
    const fx = column - c;
    const near = (s[at] as number) * (1 - fx) + (s[at + 1] as number) * fx;
    const far = (s[at + this.#columns] as number) * (1 - fx) + (s[at + this.#columns + 1] as number) * fx;
    return near + (far - near) * (row - r);
  }
}

/** Coverage (0 to 1) of a pixel of `pixel` mm by the nearest multiple of `every` mm. */
function gridLine(place: number, every: number, pixel: number): number {
  const away = Math.abs(place - Math.round(place / every) * every);
  return Math.max(1 - away / (pixel * 1.1), 0);
}

/** Moving average along lines of an image. */
function blurLines(
  from: Float32Array,
  to: Float32Array,
  length: number,
  lines: number,
  step: number,
  stride: number,
  radius: number,
): void {
  const window = 2 * radius + 1;
  for (let line = 0; line < lines; line += 1) {
    const base = line * stride;
    let sum = 0;
    for (let n = 0; n < Math.min(radius, length); n += 1) sum += from[base + n * step] as number;
    for (let n = 0; n < length; n += 1) {
      if (n + radius < length) sum += from[base + (n + radius) * step] as number;
      if (n - radius - 1 >= 0) sum -= from[base + (n - radius - 1) * step] as number;
      to[base + n * step] = sum / window;
    }
  }
}
