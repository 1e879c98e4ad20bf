import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fitCamera, panned, zoomed } from '../src/web/view/camera.ts';
import { modelFormat } from '../src/web/view/model-format.ts';
import { Orbit } from '../src/web/view/orbit.ts';
import { planParts } from '../src/web/view/parts-plan.ts';
import { madeBytes, PrintHistory } from '../src/web/view/print-history.ts';

const box = { min: [10, 20, 0], max: [60, 40, 30] };

describe('the picture of a layer', () => {
  it('fits the box, and shows the place under the pointer while it zooms', () => {
    const fitted = fitCamera(box, 800, 600);
    const pixel = (x: number, y: number, { scale, x: left, y: top } = fitted) => [left + x * scale, top - y * scale];
    for (const [x = 0, y = 0] of [pixel(10, 20), pixel(60, 40)]) {
      expect(x).toBeGreaterThanOrEqual(0);
      expect(x).toBeLessThanOrEqual(800);
      expect(y).toBeGreaterThanOrEqual(0);
      expect(y).toBeLessThanOrEqual(600);
    }
    const position = fc.double({ min: -100, max: 100, noNaN: true });
    fc.assert(
      fc.property(position, position, fc.double({ min: 0.5, max: 2, noNaN: true }), (x, y, factor) => {
        const [atX = 0, atY = 0] = pixel(x, y);
        const [nowX, nowY] = pixel(x, y, zoomed(fitted, factor, atX, atY));
        expect(nowX).toBeCloseTo(atX, 6);
        expect(nowY).toBeCloseTo(atY, 6);
      }),
    );
    expect(pixel(0, 0, panned(fitted, 3, -4))).toEqual([fitted.x + 3, fitted.y - 4]);
    // However far it zooms, the numbers stay usable.
    let far = fitted;
    for (let n = 0; n < 1000; n += 1) far = zoomed(far, 10, 0, 0);
    expect(Number.isFinite(far.scale * far.x)).toBe(true);
  });
});

describe('the picture in space', () => {
  it('has every corner of the box in the view and before the camera', () => {
    const orbit = new Orbit(box);
    fc.assert(
      fc.property(fc.double({ min: -7, max: 7, noNaN: true }), fc.double({ min: -4, max: 4, noNaN: true }), (a, b) => {
        orbit.turn(a, b);
        const { matrix } = orbit.view(800, 600);
        for (let corner = 0; corner < 8; corner += 1) {
          const place = [0, 1, 2].map((axis) => ((corner >> axis) & 1 ? box.max : box.min)[axis] as number);
          for (let row = 0; row < 3; row += 1) {
            const value = [...place, 1].reduce((sum, part, n) => sum + part * (matrix[4 * n + row] as number), 0);
            expect(Math.abs(value)).toBeLessThanOrEqual(1);
          }
        }
      }),
    );
  });

  it('has as many layers as it can draw', () => {
    const moves = new Uint32Array(1000).fill(300);
    expect(planParts(moves, 500_000)).toMatchObject({ every: 1, moves: 300_000 });
    const plan = planParts(moves, 100_000);
    expect(plan).toMatchObject({ every: 3, moves: 100_200 });
    expect(plan.layers.slice(0, 3)).toEqual([0, 3, 6]);
    // One layer with everything is drawn.
    expect(planParts(Uint32Array.of(0, 2_000_000), 500_000).every).toBe(4);
    expect(planParts(new Uint32Array(0), 10)).toEqual({ every: 1, layers: [], moves: 0 });
  });
});

describe('files that hold a shape', () => {
  it('are known by their first bytes', () => {
    const bytesOf = (text: string) => new TextEncoder().encode(text);
    expect(modelFormat(bytesOf('solid part\n facet normal 0 0 1\n'), 1000)).toBe('STL');
    expect(modelFormat(bytesOf('PK\u0003\u0004rest of an archive'), 1000)).toBe('3MF');
    const binary = new Uint8Array(200);
    new DataView(binary.buffer).setUint32(80, 7, true);
    expect(modelFormat(binary, 84 + 7 * 50)).toBe('STL');
    expect(modelFormat(binary, 84 + 7 * 50 + 1)).toBeUndefined();
    expect(modelFormat(bytesOf('; solid infill\nG1 X1\n'), 21)).toBeUndefined();
    expect(modelFormat(new Uint8Array(0), 0)).toBeUndefined();
  });
});

describe('what a page has read of a print', () => {
  const machine = (hotend: number) => ({
    ...{ state: 'running' as const, temperatures: { hotend, bed: 60, chamber: 22 }, wire: 0, hints: 0 },
  });

  it('keeps what was new, and when that was', () => {
    const history = new PrintHistory();
    history.add({ print: 'a' }, 1);
    expect(history.changedAt('a')).toBeUndefined();
    history.add({ print: 'a', progress: { acked: 1, machine: machine(200) } }, 1000);
    history.add({ print: 'a', progress: { acked: 1, machine: machine(200) } }, 3000);
    expect(history.changedAt('a')).toBe(1000);
    history.add({ print: 'a', progress: { acked: 2, machine: machine(205) } }, 5000);
    expect(history.changedAt('a')).toBe(5000);
    expect(history.samplesOf('a')).toEqual([
      { at: 1000, hotend: 200, bed: 60 },
      { at: 5000, hotend: 205, bed: 60 },
    ]);
    // What a licence does not disclose is absent.
    history.add({ print: 'b', progress: { acked: 2 } }, 5000);
    expect(history.samplesOf('b')).toEqual([{ at: 5000, hotend: undefined, bed: undefined }]);
  });

  it('is bounded', () => {
    const history = new PrintHistory();
    for (let n = 0; n < 200; n += 1) history.add({ print: String(n), progress: { acked: n } }, n);
    expect(history.changedAt('0')).toBeUndefined();
    expect(history.changedAt('199')).toBe(199);
    for (let n = 0; n < 4000; n += 1) history.add({ print: '199', progress: { acked: n } }, n);
    expect(history.samplesOf('199').length).toBe(3600);
  });

  it('reaches into the file as far as the segments do, and not further', () => {
    expect(madeBytes({ acked: 2, size: 100, segmentBytes: 30 })).toBe(60);
    expect(madeBytes({ acked: 4, size: 100, segmentBytes: 30 })).toBe(100);
  });
});
