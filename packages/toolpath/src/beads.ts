import type { Measure } from './measure.ts';
import { type Colour, heightColour } from './palette.ts';
import type { ToolPath } from './path.ts';
import type { View } from './view.ts';

/** Depth and colour of each pixel in some rows of the picture. Depth in mm, increasing towards the viewer. */
export interface Scene {
  readonly width: number;
  /** Row of the picture that is the first row here. */
  readonly top: number;
  /** Number of rows. */
  readonly height: number;
  /** -Infinity where nothing is drawn. */
  readonly depth: Float32Array;
  /** 0x00bbggrr. */
  readonly colour: Uint32Array;
}

// Light from the upper left, towards the viewer; and the half-way direction to the viewer, for the gloss.
const light = unit(-0.45, 0.62, 0.64);
const gloss = unit(light[0], light[1], light[2] + 1);
const beadWidth = 0.46; // mm; the path does not contain the width
const shades = 512;

/**
 * Draws every move that deposits material as a shaded round bead, nearest on top.
 * @param rows rows of the picture to draw
 */
export function drawBeads(
  path: ToolPath,
  box: Measure,
  view: View,
  width: number,
  rows: { readonly top: number; readonly height: number },
): Scene {
  const scene: Scene = {
    width,
    ...rows,
    depth: new Float32Array(width * rows.height).fill(Number.NEGATIVE_INFINITY),
    colour: new Uint32Array(width * rows.height),
  };
  const bead = new BeadPainter(scene, view, box.layerHeight);
  const span = Math.max(box.max[2] - box.min[2], 1e-6);
  // Top layers first: most of what lies below is hidden and is skipped quickly.
  let current = -1;
  path.eachBackwards(({ x0, y0, z0, x, y, z, extruding, layer }) => {
    if (!extruding) return;
    if (layer !== current) {
      current = layer;
      const share = ((box.heights[layer] as number) - box.min[2]) / span;
      bead.setColour(heightColour(share), layer % 2 === 0 ? 1 : 0.955);
    }
    bead.draw(x0, y0, z0, x, y, z);
  });
  return scene;
}

class BeadPainter {
  readonly #scene: Scene;
  readonly #view: View;
  readonly #halfHeight: number;
  // The layer's colour under every strength of light, with gloss on top.
  readonly #shaded = new Uint32Array(shades);

  constructor(scene: Scene, view: View, layerHeight: number) {
    this.#scene = scene;
    this.#view = view;
    this.#halfHeight = layerHeight * 0.55;
  }

  setColour(colour: Colour, brightness: number): void {
    for (let n = 0; n < shades; n += 1) {
      const strength = (n / (shades - 1)) * 1.6;
      let packed = 0;
      for (let part = 2; part >= 0; part -= 1) {
        // Beyond full light the colour tends to white: the gloss of the plastic.
        const lit = (colour[part] as number) * brightness * Math.min(strength, 1);
        const value = lit + (255 - lit) * Math.max(strength - 1, 0);
        packed = (packed << 8) | Math.round(Math.min(value, 255));
      }
      this.#shaded[n] = packed;
    }
  }

  draw(ax: number, ay: number, az: number, bx: number, by: number, bz: number): void {
    const { right, up, towards, scale, x, y } = this.#view;
    const x0 = x + (ax * right[0] + ay * right[1] + az * right[2]) * scale;
    const y0 = y - this.#scene.top - (ax * up[0] + ay * up[1] + az * up[2]) * scale;
    const x1 = x + (bx * right[0] + by * right[1] + bz * right[2]) * scale;
    const y1 = y - this.#scene.top - (bx * up[0] + by * up[1] + bz * up[2]) * scale;
    const near0 = ax * towards[0] + ay * towards[1] + az * towards[2];
    const near1 = bx * towards[0] + by * towards[1] + bz * towards[2];
    const dx = x1 - x0;
    const dy = y1 - y0;
    const length = Math.sqrt(dx * dx + dy * dy);
    // Direction across the line in the picture. A bead that points at the viewer is drawn as its end.
    const [cx, cy] = length < 1e-6 ? [1, 0] : [-dy / length, dx / length];
    this.#fill(x0, y0, dx, dy, length, cx, cy, near0, near1, this.#halfWidth(ax - bx, ay - by, cx, cy));
  }

  /** Half the bead's width in the picture. Its section is an ellipse, wide and flat. */
  #halfWidth(dx: number, dy: number, cx: number, cy: number): number {
    const { right, up, scale } = this.#view;
    const flat = Math.hypot(dx, dy);
    const sx = flat < 1e-9 ? 1 : -dy / flat;
    const sy = flat < 1e-9 ? 0 : dx / flat;
    const side = (sx * right[0] + sy * right[1]) * cx - (sx * up[0] + sy * up[1]) * cy;
    const top = right[2] * cx - up[2] * cy;
    return Math.max(Math.hypot(side * (beadWidth / 2), top * this.#halfHeight) * scale, 0.6);
  }

  #fill(
    x0: number,
    y0: number,
    dx: number,
    dy: number,
    length: number,
    cx: number,
    cy: number,
    near0: number,
    near1: number,
    half: number,
  ): void {
    const { width, height, depth, colour } = this.#scene;
    const shaded = this.#shaded;
    const left = Math.max(Math.ceil(Math.min(x0, x0 + dx) - half), 0);
    const right = Math.min(Math.floor(Math.max(x0, x0 + dx) + half), width - 1);
    const top = Math.max(Math.ceil(Math.min(y0, y0 + dy) - half), 0);
    const bottom = Math.min(Math.floor(Math.max(y0, y0 + dy) + half), height - 1);
    const ux = length < 1e-6 ? 0 : dx / length;
    const uy = length < 1e-6 ? 0 : dy / length;
    const slope = length < 1e-6 ? 0 : (near1 - near0) / length;
    const bulge = half / this.#view.scale;
    for (let y = top; y <= bottom; y += 1) {
      const py = y - y0;
      // Range of this row that the bead's band covers, so that long slanting beads cost only their area.
      let from = left;
      let to = right;
      if (Math.abs(cx) > 1e-6) {
        const middle = x0 - (py * cy) / cx;
        const reach = half / Math.abs(cx) + 1;
        from = Math.max(left, Math.ceil(middle - reach));
        to = Math.min(right, Math.floor(middle + reach));
      }
      for (let x = from; x <= to; x += 1) {
        const px = x - x0;
        const across = (px * cx + py * cy) / half;
        let along = px * ux + py * uy;
        let over = 0;
        if (along < 0) {
          over = along / half;
          along = 0;
        } else if (along > length) {
          over = (along - length) / half;
          along = length;
        }
        const rest = 1 - across * across - over * over;
        if (rest <= 0) continue;
        const front = Math.sqrt(rest);
        const near = near0 + slope * along + bulge * front;
        const at = y * width + x;
        if (near <= (depth[at] as number)) continue;
        depth[at] = near;
        const nx = across * cx + over * ux;
        const ny = -(across * cy + over * uy);
        const diffuse = nx * light[0] + ny * light[1] + front * light[2];
        const shine = nx * gloss[0] + ny * gloss[1] + front * gloss[2];
        const shine4 = shine > 0 ? shine * shine * shine * shine : 0;
        const strength = 0.3 + (diffuse > 0 ? 0.66 * diffuse : 0) + 0.3 * shine4 * shine4 * shine4 * shine4;
        colour[at] = shaded[Math.min((strength / 1.6) * (shades - 1), shades - 1) | 0] as number;
      }
    }
  }
}

function unit(x: number, y: number, z: number): Colour {
  const length = Math.hypot(x, y, z);
  return [x / length, y / length, z / length];
}
