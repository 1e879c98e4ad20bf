import { type Bytes, copyBytes } from '@millrace/base/core';
import { PNG } from 'pngjs';
import type { Canvas } from './canvas.ts';
import { drawLabelPicture, type Label } from './label.ts';
import type { ToolPath } from './path.ts';
import { drawPicture, drawThumbnailPicture, type PictureOptions } from './picture.ts';

/** Sides of a thumbnail in pixels, largest first. */
const sides = [256, 192, 128, 96, 64] as const;

/** A paper label as a PNG file. */
export function drawLabel(label: Label): Bytes {
  return encode(drawLabelPicture(label));
}

/** `drawPicture` as a PNG file. */
export function drawPng(path: ToolPath, options: PictureOptions = {}): Bytes {
  return encode(drawPicture(path, options));
}

/**
 * The part on its plate, square, without lettering: the largest of 256, 192, … pixels that fits.
 * @returns a PNG file; undefined if there is nothing to draw or even the smallest is too long
 */
export function drawThumbnail(path: ToolPath, maxBytes: number): Bytes | undefined {
  if (path.length === 0) return undefined;
  for (const side of sides) {
    const png = encode(drawThumbnailPicture(path, side));
    if (png.length <= maxBytes) return png;
  }
  return undefined;
}

function encode(canvas: Canvas): Bytes {
  const png = new PNG({ width: canvas.width, height: canvas.height, colorType: 2 });
  for (let n = 0; n < canvas.width * canvas.height; n += 1) {
    png.data[4 * n] = canvas.pixels[3 * n] as number;
    png.data[4 * n + 1] = canvas.pixels[3 * n + 1] as number;
    png.data[4 * n + 2] = canvas.pixels[3 * n + 2] as number;
    png.data[4 * n + 3] = 255;
  }
  return copyBytes(PNG.sync.write(png, { colorType: 2, filterType: 4 }));
}
