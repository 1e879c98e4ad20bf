import { Canvas } from './canvas.ts';
import { textWidth, write } from './lettering.ts';
import type { Colour } from './palette.ts';

/** A paper label: a square code on the left, lines of text next to it. */
export interface Label {
  /** Rows of a QR code, including its quiet zone; true is black. */
  readonly code: readonly (readonly boolean[])[];
  readonly title: string;
  /** Mostly capitals and digits: see the alphabet in lettering.ts. */
  readonly lines: readonly string[];
}

export const LABEL_DOTS_PER_INCH = 300;
const WIDTH = 1_050;
const HEIGHT = 460;
const MARGIN = 20;
const white: Colour = [255, 255, 255];
const black: Colour = [0, 0, 0];

/** 89 × 39 mm at 300 dpi, black on white. Modules of the code are whole pixels, so that scanners see sharp edges. */
export function drawLabelPicture({ code, title, lines }: Label): Canvas {
  const canvas = new Canvas(WIDTH, HEIGHT);
  canvas.fill(0, 0, WIDTH, HEIGHT, white);
  const side = HEIGHT - 2 * MARGIN;
  const module = Math.floor(side / code.length);
  for (const [y, row] of code.entries()) {
    for (const [x, dark] of row.entries()) {
      if (dark) canvas.fill(MARGIN + x * module, MARGIN + y * module, module, module, black);
    }
  }
  const left = 2 * MARGIN + side;
  const room = WIDTH - left - MARGIN;
  const fit = (text: string, size: number) => Math.min(size, (size * room) / Math.max(textWidth(text, size), 1));
  write(canvas, title, left, 48, fit(title, 30), black);
  canvas.fill(left, 102, room, 3, black);
  for (const [at, line] of lines.entries()) write(canvas, line, left, 130 + at * 52, fit(line, 22), black);
  return canvas;
}
