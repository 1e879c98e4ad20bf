import { Canvas } from './canvas.ts';
import { textWidth, write } from './lettering.ts';
import { type Measure, measure } from './measure.ts';
import { heightColour, ink } from './palette.ts';
import type { ToolPath } from './path.ts';
import { oversampling, stage } from './stage.ts';
import { fitView } from './view.ts';

export interface PictureOptions {
  /** Pixels. */
  readonly width?: number;
  readonly height?: number;
  /** Name of the part, for example an object's identifier. */
  readonly title?: string;
  /** Facts for the caption, one per line. */
  readonly facts?: readonly string[];
  /** Number of rows drawn at once: fewer rows use less memory and more time. The picture is the same. */
  readonly band?: number;
}

/** The part on its plate, square, without lettering; `side` in pixels. */
export function drawThumbnailPicture(path: ToolPath, side: number): Canvas {
  const box = measure(path);
  const edge = side * oversampling;
  const view = fitView(box, { left: edge * 0.06, top: edge * 0.06, width: edge * 0.88, height: edge * 0.88 }, -62, 38);
  const canvas = new Canvas(side, side);
  stage(canvas, view, box, path);
  return canvas;
}

/**
 * Draws the part as the tool deposited it, bead by bead, seen from the front above; coloured by height, with a scale
 * and the path of one layer from above. The same path and options give the same pixels.
 */
export function drawPicture(path: ToolPath, options: PictureOptions = {}): Canvas {
  const width = options.width ?? 1600;
  const height = options.height ?? 1200;
  const box = measure(path);
  const window = {
    left: width * oversampling * 0.05,
    top: height * oversampling * 0.11,
    width: width * oversampling * 0.86,
    height: height * oversampling * 0.82,
  };
  const view = fitView(box, window, -62, 38);
  const canvas = new Canvas(width, height);
  stage(canvas, view, box, path, options.band);
  const size = Math.max(height / 60, 8);
  caption(canvas, options, box, size);
  scaleBar(canvas, view.scale / oversampling, size);
  heightBar(canvas, box, size);
  layerFromAbove(canvas, path, box, size);
  return canvas;
}

function caption(canvas: Canvas, options: PictureOptions, box: Measure, size: number): void {
  const left = size * 2.4;
  let y = size * 2.4;
  if (options.title !== undefined) {
    write(canvas, options.title, left, y, size * 1.35, ink.text);
    y += size * 3;
  }
  const extent = [0, 1, 2].map((axis) => ((box.max[axis] as number) - (box.min[axis] as number)).toFixed(1));
  const facts = [`${extent.join(' × ')} mm`, `${box.layers} layers`, ...(options.facts ?? [])];
  for (const fact of facts) {
    write(canvas, fact, left, y, size * 0.85, ink.faint);
    y += size * 1.8;
  }
}

function scaleBar(canvas: Canvas, scale: number, size: number): void {
  const length = [1, 2, 5, 10, 20, 50, 100, 200].findLast((mm) => mm * scale <= canvas.width * 0.2) ?? 1;
  const left = size * 2.4;
  const y = canvas.height - size * 2.6;
  const right = left + length * scale;
  canvas.stroke(left, y, right, y, 2, ink.text);
  for (const x of [left, right]) canvas.stroke(x, y - size * 0.4, x, y + size * 0.4, 2, ink.text);
  write(canvas, `${length} mm`, left, y - size * 1.9, size * 0.85, ink.faint);
}

function heightBar(canvas: Canvas, box: Measure, size: number): void {
  const width = Math.round(size * 0.7);
  const left = Math.round(canvas.width - size * 2.4 - width);
  const top = Math.round(size * 2.6);
  const height = Math.round(canvas.height * 0.26);
  for (let y = 0; y < height; y += 1) canvas.fill(left, top + y, width, 1, heightColour(1 - y / (height - 1)));
  const label = (z: number, y: number) => {
    const text = `${z.toFixed(1)} mm`;
    write(canvas, text, left - size * 0.8 - textWidth(text, size * 0.85), y, size * 0.85, ink.faint);
  };
  label(box.max[2], top);
  label(box.min[2], top + height - size * 0.85);
}

/** Draws the middle layer from above: deposited material, and thin lines for travel. */
function layerFromAbove(canvas: Canvas, path: ToolPath, box: Measure, size: number): void {
  if (box.layers < 3) return;
  const layer = Math.ceil(box.layers / 2);
  const side = Math.round(canvas.height * 0.25);
  const left = canvas.width - side - Math.round(size * 2.4);
  const top = canvas.height - side - Math.round(size * 2.4);
  const scale = (side * 0.94) / Math.max(box.max[0] - box.min[0], box.max[1] - box.min[1], 1);
  const x = left + side / 2 - ((box.min[0] + box.max[0]) / 2) * scale;
  const y = top + side / 2 + ((box.min[1] + box.max[1]) / 2) * scale;
  const colour = heightColour(layer / box.layers);
  for (const wanted of [false, true]) {
    path.each((move) => {
      if (move.layer !== layer || move.extruding !== wanted) return;
      const [x0, y0, x1, y1] = [x + move.x0 * scale, y - move.y0 * scale, x + move.x * scale, y - move.y * scale];
      if (wanted) canvas.stroke(x0, y0, x1, y1, Math.max(scale * 0.34, 0.8), colour, 0.95);
      else canvas.stroke(x0, y0, x1, y1, 1, ink.travel, 0.8);
    });
  }
  const text = `layer ${layer} of ${box.layers}`;
  write(canvas, text, left + side - textWidth(text, size * 0.85), top - size * 1.6, size * 0.85, ink.faint);
}
