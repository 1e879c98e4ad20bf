import type { Colour } from './palette.ts';

/** An RGB picture on which soft-edged strokes are drawn. */
export class Canvas {
  readonly width: number;
  readonly height: number;
  /** Red, green, blue of every pixel, row by row. */
  readonly pixels: Uint8Array;

  constructor(width: number, height: number) {
    this.width = width;
    this.height = height;
    this.pixels = new Uint8Array(width * height * 3);
  }

  blend(x: number, y: number, colour: Colour, share: number): void {
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return;
    const at = (y * this.width + x) * 3;
    const { pixels } = this;
    for (let part = 0; part < 3; part += 1) {
      const before = pixels[at + part] as number;
      pixels[at + part] = Math.round(before + ((colour[part] as number) - before) * share);
    }
  }

  /** Draws a line with round ends. Lengths in pixels, coordinates at pixel centres. */
  stroke(x0: number, y0: number, x1: number, y1: number, width: number, colour: Colour, share = 1): void {
    const half = width / 2;
    const left = Math.max(Math.floor(Math.min(x0, x1) - half - 1), 0);
    const right = Math.min(Math.ceil(Math.max(x0, x1) + half + 1), this.width - 1);
    const top = Math.max(Math.floor(Math.min(y0, y1) - half - 1), 0);
    const bottom = Math.min(Math.ceil(Math.max(y0, y1) + half + 1), this.height - 1);
    const dx = x1 - x0;
    const dy = y1 - y0;
    const squared = dx * dx + dy * dy;
    for (let y = top; y <= bottom; y += 1) {
      for (let x = left; x <= right; x += 1) {
        const along = squared === 0 ? 0 : Math.min(Math.max(((x - x0) * dx + (y - y0) * dy) / squared, 0), 1);
        const away = Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
        const covered = Math.min(Math.max(half + 0.5 - away, 0), 1);
        if (covered > 0) this.blend(x, y, colour, covered * share);
      }
    }
  }

  fill(left: number, top: number, width: number, height: number, colour: Colour, share = 1): void {
    for (let y = top; y < top + height; y += 1) {
      for (let x = left; x < left + width; x += 1) this.blend(x, y, colour, share);
    }
  }
}
