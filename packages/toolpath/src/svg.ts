import { measure } from './measure.ts';
import { heightColour, hex, ink } from './palette.ts';
import type { ToolPath } from './path.ts';
import type { PictureOptions } from './picture.ts';
import { fitView } from './view.ts';

export interface SvgOptions extends PictureOptions {
  /** Maximum number of points. For a longer path only every n-th layer is drawn. */
  readonly maxPoints?: number;
}

/**
 * Draws the tool's path as lines, seen from the front above and coloured by height: sharp at any size, for print and
 * pages.
 * @returns the text of an SVG file
 */
export function drawSvg(path: ToolPath, options: SvgOptions = {}): string {
  const width = options.width ?? 1200;
  const height = options.height ?? 900;
  const maxPoints = options.maxPoints ?? 40_000;
  const box = measure(path);
  const window = { left: width * 0.05, top: height * 0.14, width: width * 0.9, height: height * 0.78 };
  const view = fitView(box, window, -62, 38);
  let drawn = 0;
  path.each(({ extruding }) => {
    if (extruding) drawn += 1;
  });
  const every = Math.max(Math.ceil((drawn * 1.2) / maxPoints), 1);

  const project = (x: number, y: number, z: number): [number, number] => [
    view.x + (x * view.right[0] + y * view.right[1] + z * view.right[2]) * view.scale,
    view.y - (x * view.up[0] + y * view.up[1] + z * view.up[2]) * view.scale,
  ];
  const layers = new Map<number, string[]>();
  let joined = false;
  let points = 0;
  path.each(({ x0, y0, z0, x, y, z, extruding, layer }) => {
    const wanted = extruding && (layer % every === 0 || layer === box.layers) && points < maxPoints;
    if (!wanted) {
      joined = false;
      return;
    }
    let line = layers.get(layer);
    if (line === undefined) {
      line = [];
      layers.set(layer, line);
      joined = false;
    }
    if (!joined) {
      line.push(`M${spot(project(x0, y0, z0))}`);
      points += 1;
    }
    line.push(`L${spot(project(x, y, z))}`);
    points += 1;
    joined = true;
  });

  const extent = [0, 1, 2].map((axis) => ((box.max[axis] as number) - (box.min[axis] as number)).toFixed(1));
  const facts = [`${extent.join(' × ')} mm`, `${box.layers} layers`, ...(options.facts ?? [])];
  const out = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>${quote(options.title ?? 'Tool path')}</title>`,
    `<rect width="${width}" height="${height}" fill="${hex(ink.bottom)}"/>`,
    `<g fill="none" stroke-width="${Math.max(0.3 * view.scale, 0.4).toFixed(2)}" stroke-linejoin="round" stroke-linecap="round" stroke-opacity="0.85">`,
  ];
  for (const [layer, line] of layers) {
    out.push(`<path stroke="${hex(heightColour(layer / Math.max(box.layers, 1)))}" d="${line.join('')}"/>`);
  }
  out.push('</g>', `<g font-family="system-ui, sans-serif" fill="${hex(ink.faint)}" font-size="15">`);
  if (options.title !== undefined) {
    out.push(`<text x="28" y="46" font-size="24" fill="${hex(ink.text)}">${quote(options.title)}</text>`);
  }
  facts.forEach((fact, n) => {
    out.push(`<text x="28" y="${76 + 22 * n}">${quote(fact)}</text>`);
  });
  out.push('</g>', '</svg>', '');
  return out.join('\n');
}

function spot([x, y]: [number, number]): string {
  return `${x.toFixed(1)} ${y.toFixed(1)}`;
}

/** Escapes text for XML. */
function quote(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
