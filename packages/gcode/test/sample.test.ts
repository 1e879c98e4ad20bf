import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { estimateDesign, estimateSink, SegmentTimes, syntheticDesign } from '../src/index.ts';
import { codedError } from './helpers.ts';

const sample = readFileSync(new URL('../../../samples/impeller.gcode', import.meta.url));
const text = sample.toString('latin1');

function slicerNumber(name: string): number {
  return Number(new RegExp(`; ${name} = ([0-9.]+)`).exec(text)?.[1]);
}

function* chunks(bytes: Uint8Array, length: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

describe('the sample', () => {
  it('matches the slicer’s figures', async () => {
    const estimate = await estimateDesign([sample]);
    const [, minutes, seconds] = /normal mode\) = (\d+)m (\d+)s/.exec(text) ?? [];
    const slicer = Number(minutes) * 60 + Number(seconds);
    // Heating of the bed (38 °C at 0.6 °C/s), of the nozzle (193 °C at 2.5 °C/s, less the time elapsed), homing.
    const waits = 193 / 2.5 + 24;
    expect((estimate.totalSeconds - waits) / slicer).toBeGreaterThan(0.95);
    expect((estimate.totalSeconds - waits) / slicer).toBeLessThan(1.05);
    // The start code primes the nozzle with 21.5 mm, which the slicer does not count.
    expect(Math.abs(estimate.material.extrudedMm - 21.5 - slicerNumber('filament used \\[mm\\]'))).toBeLessThan(0.1);
    expect(estimate.material.grams).toBeCloseTo(slicerNumber('filament used \\[g\\]'), 0);
    expect(estimate.layers).toBe(text.split(';LAYER_CHANGE').length - 1);
    expect(estimate.lines).toBe(text.split('\n').length - 1);
    expect(estimate.bytes).toBe(sample.length);
    expect(estimate.unknownCommands).toBe(0);
    expect(estimate.hottest).toEqual({ hotend: 215, bed: 60 });
  });

  it('fits the machine, and its box fits its reach', async () => {
    const { box, reach } = await estimateDesign([sample]);
    // 60 mm across around (125, 105), with skirt. The priming line starts at (5, 4).
    expect(box.min).toEqual([5, 4, 0.28]);
    expect(box.max[2]).toBeCloseTo(14.56, 9);
    expect(box.max[0]).toBeLessThan(160);
    for (const [axis, size] of [250, 210, 210].entries()) {
      expect(reach.min[axis]).toBeGreaterThanOrEqual(0);
      expect(reach.max[axis]).toBeLessThanOrEqual(size);
      expect(reach.min[axis]).toBeLessThanOrEqual(box.min[axis] ?? Number.NaN);
      expect(reach.max[axis]).toBeGreaterThanOrEqual(box.max[axis] ?? Number.NaN);
    }
  });

  it('has the same times for any chunk size', async () => {
    const whole = await estimateDesign([sample]);
    for (const length of [1, 7, 4096, 16_370]) {
      expect(await estimateDesign(chunks(sample, length))).toEqual(whole);
    }
    expect(whole.times).toHaveLength(Math.ceil(sample.length / 16_370));
    expect(whole.times.reduce((a, b) => a + b, 0)).toBeCloseTo(whole.totalSeconds, 6);
  });
});

describe('times per segment', () => {
  it('count a line in the segment of its last byte', async () => {
    // Lines of 8, 7, 7 bytes end at offsets 8, 15, 22, so each segment of 8 bytes has one of them.
    const content = Buffer.from('G4  P10\nG4 P20\nG4 P40\n');
    expect((await estimateDesign([content], { segmentBytes: 8 })).times).toEqual([0.01, 0.02, 0.04]);
    expect((await estimateDesign([content], { segmentBytes: 7 })).times).toEqual([0, 0.01, 0.02, 0.04]);
    expect((await estimateDesign([content], { segmentBytes: 100 })).times).toHaveLength(1);
    // Without a line end the last line ends with the file.
    expect((await estimateDesign([content.subarray(0, 21)], { segmentBytes: 7 })).times).toEqual([0, 0.01, 0.06]);
  });

  it('include segments with comments only', async () => {
    expect((await estimateDesign([Buffer.from(`G4 P10\n;${'c'.repeat(40)}`)], { segmentBytes: 10 })).times).toEqual([
      0.01, 0, 0, 0, 0,
    ]);
  });

  it('reject an empty design and a wrong segment length', async () => {
    await expect(estimateDesign([])).rejects.toMatchObject({ code: 'E_DESIGN_EMPTY' });
    expect(codedError(() => new SegmentTimes(0))).toMatchObject({ code: 'E_INPUT' });
  });

  it('are the bytes divided by the speed for a sink', () => {
    expect(estimateSink(25, 10, 10)).toEqual([1, 1, 0.5]);
  });
});

describe('synthetic designs', () => {
  it('have the requested length, and depend on the seed only', () => {
    const make = (bytes: number, seed: number, chunkBytes: number) =>
      Buffer.concat([...syntheticDesign({ bytes, seed, chunkBytes })]);
    const one = make(300_001, 5, 65_536);
    expect(one).toHaveLength(300_001);
    expect(make(300_001, 5, 1000).equals(one)).toBe(true);
    expect(make(300_001, 6, 65_536).equals(one)).toBe(false);
  });

  it('are executed like a real design: 4 MB', async () => {
    const estimate = await estimateDesign(syntheticDesign({ bytes: 4_000_000 }));
    expect(estimate.unknownCommands).toBe(0);
    expect(estimate.lines).toBeGreaterThan(100_000);
    expect(estimate.layers).toBeGreaterThan(100);
    expect(estimate.box.max[0]).toBeLessThan(250);
    expect(estimate.totalSeconds).toBeGreaterThan(3600);
  });
});
