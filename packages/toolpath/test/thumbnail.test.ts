import { readFileSync } from 'node:fs';
import { DesignEstimator, SlicerNotes } from '@millrace/gcode';
import { PNG } from 'pngjs';
import { describe, expect, it } from 'vitest';
import { ThumbnailPath, type ToolPath } from '../src/index.ts';
import { drawThumbnail } from '../src/png.ts';

const sample = readFileSync(new URL('../../../samples/impeller.gcode', import.meta.url));

function pathOf(mostMoves?: number): ToolPath {
  const kept = new ThumbnailPath(mostMoves);
  const estimator = new DesignEstimator({ onMove: (...move) => kept.add(...move) });
  estimator.push(sample);
  estimator.finish();
  return kept.path;
}

/** The share of pixels in which two pictures differ clearly. */
function difference(a: Uint8Array, b: Uint8Array): number {
  const one = PNG.sync.read(Buffer.from(a));
  const two = PNG.sync.read(Buffer.from(b));
  expect([two.width, two.height]).toEqual([one.width, one.height]);
  let differ = 0;
  for (let at = 0; at < one.data.length; at += 4) {
    const away = [0, 1, 2].map((part) => Math.abs((one.data[at + part] ?? 0) - (two.data[at + part] ?? 0)));
    if (Math.max(...away) > 64) differ += 1;
  }
  return differ / (one.width * one.height);
}

describe('the thumbnail', () => {
  it('is a small square PNG of the part, within its size limit', () => {
    const png = drawThumbnail(pathOf(), 32_768);
    expect(png?.length).toBeLessThanOrEqual(32_768);
    const { width, height, data } = PNG.sync.read(Buffer.from(png ?? []));
    expect(width).toBe(height);
    expect(width).toBeGreaterThanOrEqual(128);
    expect(new Set(new Uint32Array(new Uint8Array(data).buffer)).size).toBeGreaterThan(500);
  });

  it('shows the same shape when only some of the layers are kept', () => {
    const whole = pathOf();
    const thinned = pathOf(9_000);
    expect(whole.length).toBeGreaterThan(20_000);
    expect(thinned.length).toBeLessThanOrEqual(9_000);
    expect(thinned.dropped).toBe(0);
    // From the first to the last layers.
    let last = 0;
    thinned.each(({ layer }) => {
      last = layer;
    });
    expect(last).toBeGreaterThan(48);
    const pictures = [whole, thinned].map((path) => drawThumbnail(path, 1e9) ?? new Uint8Array());
    expect(difference(pictures[0] ?? new Uint8Array(), pictures[1] ?? new Uint8Array())).toBeLessThan(0.15);
  });

  it('is omitted when nothing moves or no picture fits', () => {
    expect(drawThumbnail(new ThumbnailPath().path, 32_768)).toBeUndefined();
    expect(drawThumbnail(pathOf(9_000), 100)).toBeUndefined();
  });
});

describe('the slicer’s estimate', () => {
  const timeOf = (text: string, length = text.length) => {
    const notes = new SlicerNotes();
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; at += length) notes.push(bytes.subarray(at, at + length));
    return notes.finish();
  };

  it.each([1, 7, 100, 4_096, 1_000_000])('is found in the sample, in chunks of %i bytes', (length) => {
    const notes = new SlicerNotes();
    // Only the end, where the time is, when the chunks are tiny.
    for (let at = length < 100 ? sample.length - 12_000 : 0; at < sample.length; at += length)
      notes.push(sample.subarray(at, at + length));
    expect(notes.finish()).toBe(46 * 60 + 37);
  });

  it.each([
    ['; estimated printing time (normal mode) = 1d 2h 3m 4s\n', 93_784],
    ['; estimated printing time (normal mode) = 59s', 59],
    [';FLAVOR:Marlin\n;TIME:2797\n;Filament used: 1m\n', 2_797],
    [';TIME:6666\n', undefined],
    [';TIME:abc\n', undefined],
    ['; estimated printing time (normal mode) = soon\n', undefined],
    ['G28\n', undefined],
  ])('%j is %s', (text, seconds) => {
    for (const length of [1, 5, 1_000]) expect(timeOf(text, length)).toBe(seconds);
  });
});
