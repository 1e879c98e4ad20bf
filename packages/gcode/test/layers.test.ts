import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  Execution,
  type LayerIndex,
  LayerIndexer,
  type LayerPath,
  layerAt,
  pathKinds,
  readLayer,
  syntheticDesign,
} from '../src/index.ts';

const sample = new Uint8Array(readFileSync(fileURLToPath(new URL('../../../samples/impeller.gcode', import.meta.url))));
const bytesOf = (text: string) => new TextEncoder().encode(text);

function indexOf(bytes: Uint8Array): LayerIndex {
  const indexer = new LayerIndexer();
  indexer.push(bytes);
  return indexer.finish();
}
const layerOf = (bytes: Uint8Array, index: LayerIndex, layer: number) =>
  readLayer(index, layer, async (from, to) => bytes.subarray(from, to));

async function allOf(bytes: Uint8Array): Promise<{ index: LayerIndex; layers: LayerPath[] }> {
  const index = indexOf(bytes);
  const layers: LayerPath[] = [];
  for (let layer = 0; layer < index.count; layer += 1) layers.push(await layerOf(bytes, index, layer));
  return { index, layers };
}
const kindsOf = ({ kinds }: LayerPath) => [...kinds].map((kind) => pathKinds[kind]);

describe('layers of a file', () => {
  it('are those that the machine executes, each read on its own', async () => {
    const executed: number[][] = [];
    const execution = new Execution({
      travelled: ({ layer, x, y, z }) => {
        executed[layer] ??= [];
        executed[layer].push(Math.fround(x), Math.fround(y), Math.fround(z));
      },
    });
    execution.push(sample);
    execution.finish();
    const { index, layers } = await allOf(sample);
    expect(index.count - 1).toBe(execution.interpreter.layers);
    expect(index.count).toBeGreaterThan(50);
    expect(index.states.length).toBeGreaterThan(5);
    for (const [layer, path] of layers.entries()) {
      expect(path.kinds.length).toBe(index.moves[layer]);
      const ends = [...path.points.subarray(3)];
      // The executed path has pieces without length, where only filament moves.
      const travelled = executed[layer] ?? [];
      const moved = travelled.filter((_, n) => {
        const at = n - (n % 3);
        const [x, y, z] = at === 0 ? [Number.NaN, 0, 0] : travelled.slice(at - 3, at);
        return x !== travelled[at] || y !== travelled[at + 1] || z !== travelled[at + 2];
      });
      const drawn = ends.filter((_, n) => {
        const at = n - (n % 3);
        const [x, y, z] = at === 0 ? [Number.NaN, 0, 0] : ends.slice(at - 3, at);
        return x !== ends[at] || y !== ends[at + 1] || z !== ends[at + 2];
      });
      expect([layer, drawn]).toEqual([layer, moved]);
    }
  });

  it('do not depend on how the file is cut', () => {
    const bytes = sample.subarray(0, 60_000);
    const whole = indexOf(bytes);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 }), (cuts) => {
        const indexer = new LayerIndexer();
        for (let at = 0, n = 0; at < bytes.length; n += 1) {
          const length = cuts[n % cuts.length] as number;
          indexer.push(bytes.subarray(at, at + length));
          at += length;
        }
        const { kinds: _, ...index } = indexer.finish();
        const { kinds: __, ...expected } = whole;
        expect(index.start).toEqual(expected.start);
        expect(index.moves).toEqual(expected.moves);
        expect(index.max).toEqual(expected.max);
      }),
      { numRuns: 30 },
    );
  });

  it('have the features that slicers name', async () => {
    const text = `M83
;TYPE:External perimeter
G1 X1 Y0 E1
;TYPE:WALL-INNER
G1 X2 E1
; FEATURE: Sparse infill
G1 X3 E1
;TYPE:Top solid infill
G1 X4 E1
;TYPE:Bridge infill
G1 X5 E1
;TYPE:Support material interface
G1 X6 E1
;TYPE:Skirt/Brim
G1 X7 E1
;TYPE:<img src=x onerror=alert(1)>
G1 X8 E1
G1 X9
`;
    const { layers } = await allOf(bytesOf(text));
    expect(kindsOf(layers[1] as LayerPath)).toEqual([
      ...['outer', 'inner', 'infill', 'solid', 'bridge', 'support', 'skirt', 'other', 'travel'],
    ]);
  });

  it('go on with the modes of the lines before them', async () => {
    const filler = `${';'.padEnd(999, '-')}\n`.repeat(200);
    const text = `G20\nG91\nM82\nG92 E5\nT1\n;TYPE:Bridge\nG1 X1 E6\n${filler}G1 X1 E7\nG1 Z1\nX1 E8\nG90\nG28\nG1 X1 Y1 E9`;
    const bytes = bytesOf(text);
    const { index, layers } = await allOf(bytes);
    expect(index.states.length).toBeGreaterThan(1);
    expect(index.count).toBe(4);
    const tenths = (layer: number) => [...(layers[layer] as LayerPath).points].map((mm) => Math.round(mm * 10) / 10);
    expect(tenths(2)).toEqual([50.8, 0, 25.4, 76.2, 0, 25.4]);
    expect(kindsOf(layers[2] as LayerPath)).toEqual(['bridge']);
    // The machine went home by itself.
    expect(tenths(3)).toEqual([76.2, 0, 25.4, 0, 0, 0, 25.4, 25.4, 0]);
    expect(kindsOf(layers[3] as LayerPath)).toEqual(['travel', 'bridge']);
    expect([...(layers[3] as LayerPath).tools]).toEqual([1, 1]);
    expect(layerAt(index, index.start[2] as number)).toBe(2);
    expect(layerAt(index, (index.start[2] as number) - 1)).toBe(1);
  });

  it('of a milling program are the heights of its flat cuts', async () => {
    const text = 'G21 G90\nG0 X0 Y0 Z5\nM3 S1000\nG1 Z-1 F100\nG1 X10\nG1 X10 Y10\nG0 Z5\nG0 X0 Y0\nG1 Z-2\nX10\nM5\n';
    const { index, layers } = await allOf(bytesOf(text));
    expect([...index.z].map((z) => Math.round(z))).toEqual([Number.NaN, -1, -2]);
    expect(layers.map(kindsOf)).toEqual([['travel'], ['cut', 'cut', 'cut', 'travel', 'travel', 'cut'], ['cut']]);
    expect([...index.max]).toEqual([10, 10, 5]);
  });

  it('refuse what is no G-code, and too many layers, without a byte of the design in the error', () => {
    const garbage = fc.sample(fc.uint8Array({ minLength: 2000, maxLength: 4000 }), 20);
    for (const bytes of garbage) {
      try {
        indexOf(bytes);
      } catch (error) {
        expect(error).toMatchObject({ code: 'E_GCODE' });
      }
    }
    for (const line of [
      'G1 Xnan',
      'G1 XInfinity',
      `G1 X${'9'.repeat(400)}`,
      `G1 X99999999`,
      `G1 ${'X1 '.repeat(1000)}`,
    ])
      expect(() => indexOf(bytesOf(`${line}\n`)), line).toThrow(expect.objectContaining({ code: 'E_GCODE' }));
    const layers = 'G91\nM83\n'.concat('G1 X1 Z1 E1\nG1 X-1 Z-1 E1\n'.repeat(501_000));
    expect(() => indexOf(bytesOf(layers))).toThrow(/more than 1000000 layers/);
  });

  it('keep only some bytes for each layer of a large file', () => {
    const indexer = new LayerIndexer();
    let bytes = 0;
    for (const chunk of syntheticDesign({ bytes: 8_000_000 })) {
      indexer.push(chunk);
      bytes += chunk.length;
    }
    const index = indexer.finish();
    expect(index.bytes).toBe(bytes);
    expect(index.states.length).toBeLessThan(bytes / 65_536 + 1);
    expect(index.count).toBeGreaterThan(100);
  });
});
