import type { LayerPath } from '@millrace/gcode';
import type { Camera } from './camera.ts';
import type { PathColours } from './colours.ts';

/** Width of what is deposited, mm; the file does not say it. */
const BEAD = 0.42;
/** Points of a line that are nearer than this to the last one are not drawn, pixels. */
const NEAR = 0.5;
/** Above this many moves, corners are drawn in the cheapest way. */
const MANY = 20_000;
const GRID_MM = 10;
/** A grid with more lines would only be grey. */
const MAX_LINES = 400;

export interface LayerPicture {
  readonly path: LayerPath;
  /** Number of moves that are made: the first ones. The others are drawn faint. */
  readonly made: number;
  readonly travel: boolean;
  readonly byTool: boolean;
  readonly camera: Camera;
  readonly colours: PathColours;
  /** Pixels of the canvas for a pixel of the page. */
  readonly ratio: number;
}

type Context = CanvasRenderingContext2D;

/** Draws one layer from above. */
export function drawLayer(context: Context, picture: LayerPicture): void {
  const { width, height } = context.canvas;
  context.clearRect(0, 0, width, height);
  drawGrid(context, picture, width, height);
  const lines = collect(picture);
  const { camera, ratio, colours } = picture;
  const many = picture.path.kinds.length > MANY;
  context.lineJoin = many ? 'bevel' : 'round';
  context.lineCap = many ? 'butt' : 'round';
  const bead = Math.max(BEAD * camera.scale, ratio);
  for (const { path, colour, thin } of lines) {
    context.strokeStyle = colour;
    context.lineWidth = thin ? ratio : bead;
    context.stroke(path);
  }
  if (picture.made === 0) return;
  const [x, y] = [picture.path.points[3 * picture.made] ?? 0, picture.path.points[3 * picture.made + 1] ?? 0];
  context.beginPath();
  context.arc(camera.x + x * camera.scale, camera.y - y * camera.scale, 5 * ratio, 0, 2 * Math.PI);
  context.strokeStyle = colours.head;
  context.lineWidth = 2 * ratio;
  context.stroke();
}

interface Line {
  readonly path: Path2D;
  readonly colour: string;
  readonly thin: boolean;
}

/** One line of each colour. What is not made yet comes first, so that it lies below. */
function collect({ path, made, travel, byTool, camera, colours }: LayerPicture): Line[] {
  const { points, kinds, tools } = path;
  const rest = new Path2D();
  const travels = new Path2D();
  const works = new Map<string, Path2D>();
  const { scale, x: zeroX, y: zeroY } = camera;
  let current: Path2D | undefined;
  // Last point of the line that is being drawn, and the end of the move before.
  let [drawnX, drawnY, endX, endY] = [0, 0, 0, 0];
  let skipped = false;
  const finishLine = () => {
    if (skipped) current?.lineTo(endX, endY);
    skipped = false;
  };
  for (let n = 0; n < kinds.length; n += 1) {
    const kind = kinds[n] as number;
    const at = 3 * n;
    const moves = kind === 0;
    let target: Path2D | undefined;
    if (moves) target = travel ? (n < made ? travels : rest) : undefined;
    else if (n >= made) target = rest;
    else {
      const tool = colours.tools[(tools[n] as number) % colours.tools.length] as string;
      const colour = byTool ? tool : (colours.kinds[kind] as string);
      target = works.get(colour) ?? new Path2D();
      works.set(colour, target);
    }
    if (target !== current) {
      finishLine();
      current = target;
      drawnX = zeroX + (points[at] as number) * scale;
      drawnY = zeroY - (points[at + 1] as number) * scale;
      target?.moveTo(drawnX, drawnY);
    }
    endX = zeroX + (points[at + 3] as number) * scale;
    endY = zeroY - (points[at + 4] as number) * scale;
    skipped = Math.abs(endX - drawnX) < NEAR && Math.abs(endY - drawnY) < NEAR;
    if (skipped) continue;
    target?.lineTo(endX, endY);
    [drawnX, drawnY] = [endX, endY];
  }
  finishLine();
  return [
    { path: rest, colour: colours.rest, thin: true },
    ...[...works].map(([colour, line]) => ({ path: line, colour, thin: false })),
    { path: travels, colour: colours.kinds[0] as string, thin: true },
  ];
}

function drawGrid(context: Context, { camera, colours, ratio }: LayerPicture, width: number, height: number): void {
  const step = GRID_MM * camera.scale;
  if ((width + height) / step > MAX_LINES) return;
  context.beginPath();
  for (let x = camera.x % step; x < width; x += step) {
    context.moveTo(x, 0);
    context.lineTo(x, height);
  }
  for (let y = camera.y % step; y < height; y += step) {
    context.moveTo(0, y);
    context.lineTo(width, y);
  }
  context.strokeStyle = colours.grid;
  context.lineWidth = ratio;
  context.stroke();
}
