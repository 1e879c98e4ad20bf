import { readFileSync } from 'node:fs';
import { Execution } from '@millrace/gcode';
import fc from 'fast-check';
import { PNG } from 'pngjs';
import { describe, expect, it } from 'vitest';
import { drawSvg, type Move, ToolPath } from '../src/index.ts';
import { measure } from '../src/measure.ts';
import { drawPng } from '../src/png.ts';
import { fitView } from '../src/view.ts';

const sample = readFileSync(new URL('../../../samples/impeller.gcode', import.meta.url));

function pathOf(content: Uint8Array): ToolPath {
  const path = new ToolPath();
  const execution = new Execution({ travelled: (e) => path.add(e.x, e.y, e.z, e.extruding, e.layer) });
  execution.push(content);
  execution.finish();
  return path;
}

/** A tube: stacked circles of `radius` mm around (100, 100). */
function tube(radius: number, layers: number): ToolPath {
  const path = new ToolPath();
  for (let layer = 1; layer <= layers; layer += 1) {
    for (let n = 0; n <= 90; n += 1) {
      const angle = (n / 90) * 2 * Math.PI;
      path.add(100 + radius * Math.cos(angle), 100 + radius * Math.sin(angle), layer * 0.2, n > 0, layer);
    }
  }
  return path;
}

/** The pixel's saturation: low for grey plates, high for coloured beads. */
function colourfulness(png: PNG, x: number, y: number): number {
  const at = (Math.round(y) * png.width + Math.round(x)) * 4;
  const parts = [png.data[at] ?? 0, png.data[at + 1] ?? 0, png.data[at + 2] ?? 0];
  return Math.max(...parts) - Math.min(...parts);
}

describe('the tool path', () => {
  it('keeps moves in order', () => {
    const move = fc.record({
      x: fc.oneof(fc.integer({ min: -1000, max: 1000 }), fc.double({ min: -2e6, max: 2e6, noNaN: true })),
      y: fc.integer({ min: -1_000_000, max: 1_000_000 }).map((micrometres) => micrometres / 1000),
      z: fc.constantFrom(0.2, 0.4),
      extruding: fc.boolean(),
      layer: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
    });
    fc.assert(
      fc.property(fc.array(move, { maxLength: 5000, size: 'max' }), (moves) => {
        const path = new ToolPath(4000);
        for (const m of moves) path.add(m.x, m.y, m.z, m.extruding, m.layer);
        const kept = moves.slice(0, 4000);
        expect(path.length).toBe(kept.length);
        expect(path.dropped).toBe(moves.length - kept.length);
        // To the micrometre, within a kilometre.
        const place = (m?: { x: number; y: number; z: number }) =>
          [m?.x ?? 0, m?.y ?? 0, m?.z ?? 0].map((mm) => {
            const micrometres = Math.round(mm * 1000);
            return Math.sign(micrometres) * Math.min(Math.abs(micrometres), 2 ** 30 - 1) || 0;
          });
        const expected = kept.map((m, n) => [...place(kept[n - 1]), ...place(m), m.extruding, m.layer]);
        const seen: unknown[][] = [];
        const keep = ({ x0, y0, z0, x, y, z, extruding, layer }: Move) =>
          seen.push([...[x0, y0, z0, x, y, z].map((mm) => Math.round(mm * 1000) || 0), extruding, layer]);
        path.each(keep);
        expect(JSON.stringify(seen)).toBe(JSON.stringify(expected));
        seen.length = 0;
        path.eachBackwards(keep);
        expect(JSON.stringify(seen)).toBe(JSON.stringify(expected.reverse()));
      }),
      { numRuns: 40 },
    );
    expect(tube(10, 200).length).toBe(91 * 200);
  });

  it('uses at most 6 bytes for a move of a real part', () => {
    const path = pathOf(sample);
    expect(path.length).toBeGreaterThan(20_000);
    expect(path.bytes / path.length).toBeLessThan(6);
  });

  it('measures the part without the skirt and priming of its first layer', () => {
    const box = measure(pathOf(sample));
    expect(box.layers).toBe(52);
    expect(box.layerHeight).toBeCloseTo(0.28, 4);
    // 60 mm across around (125, 105), less half a bead on either side.
    for (const [axis, middle] of [125, 105].entries()) {
      expect(box.min[axis]).toBeGreaterThan(middle - 30.3);
      expect(box.min[axis]).toBeLessThan(middle - 29);
      expect(box.max[axis]).toBeLessThan(middle + 30.3);
      expect(box.max[axis]).toBeGreaterThan(middle + 29);
    }
    expect([box.min[2], box.max[2]].map((z) => z.toFixed(2))).toEqual(['0.28', '14.56']);
  });
});

describe('the view', () => {
  it('fits the box into its window from any side', () => {
    const box = measure(tube(30, 50));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 360 }), fc.integer({ min: 5, max: 85 }), (around, above) => {
        const view = fitView(box, { left: 100, top: 50, width: 600, height: 400 }, around, above);
        let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
        for (let corner = 0; corner < 8; corner += 1) {
          const [x = 0, y = 0, z = 0] = [0, 1, 2].map((axis) => ((corner >> axis) & 1 ? box.max : box.min)[axis]);
          const px = view.x + (x * view.right[0] + y * view.right[1] + z * view.right[2]) * view.scale;
          const py = view.y - (x * view.up[0] + y * view.up[1] + z * view.up[2]) * view.scale;
          [left, right, top, bottom] = [
            Math.min(left, px),
            Math.max(right, px),
            Math.min(top, py),
            Math.max(bottom, py),
          ];
        }
        expect(left).toBeGreaterThanOrEqual(100 - 1e-6);
        expect(right).toBeLessThanOrEqual(700 + 1e-6);
        expect(top).toBeGreaterThanOrEqual(50 - 1e-6);
        expect(bottom).toBeLessThanOrEqual(450 + 1e-6);
        // One direction is filled.
        expect(Math.max((right - left) / 600, (bottom - top) / 400)).toBeCloseTo(1, 6);
      }),
    );
  });
});

describe('the PNG', () => {
  it('shows a tube: beads around, the plate inside and outside', () => {
    const path = tube(30, 3);
    const png = PNG.sync.read(Buffer.from(drawPng(path, { width: 400, height: 300 })));
    expect([png.width, png.height]).toEqual([400, 300]);
    // The view of drawPicture, at the scale of the canvas.
    const window = { left: 400 * 0.05, top: 300 * 0.11, width: 400 * 0.86, height: 300 * 0.82 };
    const view = fitView(measure(path), window, -62, 38);
    const at = (x: number, y: number, z: number): [number, number] => [
      view.x + (x * view.right[0] + y * view.right[1] + z * view.right[2]) * view.scale,
      view.y - (x * view.up[0] + y * view.up[1] + z * view.up[2]) * view.scale,
    ];
    const plate = colourfulness(png, ...at(100, 100, 0));
    expect(plate).toBeLessThan(45);
    for (let n = 0; n < 12; n += 1) {
      const angle = (n / 12) * 2 * Math.PI;
      const [x, y] = at(100 + 30 * Math.cos(angle), 100 + 30 * Math.sin(angle), 0.5);
      const most = Math.max(...[-1, 0, 1].map((d) => colourfulness(png, x, y + d)));
      expect(most).toBeGreaterThan(plate + 20);
    }
  });

  it('is deterministic, and differs for another path', () => {
    const options = { width: 320, height: 240, title: 'object 1', facts: ['4.2 m of PLA'] };
    const png = Buffer.from(drawPng(tube(20, 20), options));
    expect(Buffer.from(drawPng(tube(20, 20), options)).equals(png)).toBe(true);
    expect(Buffer.from(drawPng(tube(20, 21), options)).equals(png)).toBe(false);
    expect(Buffer.from(drawPng(tube(20, 20), { ...options, title: 'object 2' })).equals(png)).toBe(false);
  });

  it('does not depend on the number of rows drawn at once', () => {
    const [whole, ...parts] = [1200, 240, 50, 7].map((band) =>
      Buffer.from(drawPng(tube(6, 40), { width: 320, height: 240, band })),
    );
    for (const part of parts) expect(part.equals(whole ?? Buffer.of())).toBe(true);
  });

  it('draws the sample', () => {
    const png = PNG.sync.read(Buffer.from(drawPng(pathOf(sample), { width: 640, height: 480 })));
    let coloured = 0;
    for (let y = 0; y < 480; y += 4) for (let x = 0; x < 640; x += 4) if (colourfulness(png, x, y) > 60) coloured += 1;
    const share = coloured / (160 * 120);
    expect(share).toBeGreaterThan(0.1);
    expect(share).toBeLessThan(0.7);
  });

  it('draws empty paths, and paths with travel only', () => {
    const travel = new ToolPath();
    travel.add(10, 10, 10, false, 0);
    for (const path of [new ToolPath(), travel]) {
      expect(PNG.sync.read(Buffer.from(drawPng(path, { width: 64, height: 48 }))).width).toBe(64);
      expect(drawSvg(path)).toContain('</svg>');
    }
  });
});

describe('the SVG', () => {
  it('has the path of every layer if the path is short enough', () => {
    const svg = drawSvg(tube(20, 30), { title: 'object <1> & "2"' });
    expect(svg.match(/<path /g)).toHaveLength(30);
    expect(svg.match(/L/g)?.length).toBeGreaterThanOrEqual(30 * 90);
    expect(svg).toContain('object &lt;1&gt; &amp; &quot;2&quot;');
  });

  it('stays small for long paths, and keeps the last layer', () => {
    const svg = drawSvg(pathOf(sample), { maxPoints: 5000 });
    const points = svg.match(/[ML][0-9-]/g)?.length ?? 0;
    expect(points).toBeLessThanOrEqual(5001);
    expect(points).toBeGreaterThan(1500);
    expect(svg.length).toBeLessThan(100_000);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });
});
