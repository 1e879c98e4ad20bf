import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { availableEngines, createEngine } from '../src/engines/choose.ts';
import type { HashKey } from '../src/engines/engine.ts';
import { createSlicedTable, resolveInPasses, type SlicedOptions, slicedTableBytes } from '../src/table/sliced.ts';

const key: HashKey = { suite: 'turboshake128', revision: 9n, key: new Uint8Array(32).fill(5) };
const code = (name: string) => expect.objectContaining({ code: name });

const noise = (text: string, words: number) =>
  new Uint32Array(
    new Uint8Array(
      createHash('shake256', { outputLength: 4 * words })
        .update(text)
        .digest(),
    ).buffer,
  );

/** The codes of some values. */
function codesOf(order: number, values: Uint32Array): Uint32Array {
  const hashes = new Uint32Array(2 * values.length);
  createEngine('ts').hashBatch(key, 0, values, hashes);
  const mask = 2 ** order - 1;
  return Uint32Array.from([...values.keys()], (i) => (hashes[2 * i] ?? 0) & mask).map((word) => word >>> 0);
}

/** Every value of each code among first … first+count-1, by comparing all hashes. */
function bruteForce(order: number, codes: Uint32Array, first: number, count: number): number[][] {
  const all = new Uint32Array(count);
  createEngine().hashRange(key, first, all);
  const mask = 2 ** order - 1;
  const places = new Map<number, number[]>();
  for (const [i, one] of codes.entries()) places.set(one, [...(places.get(one) ?? []), i]);
  const found: number[][] = Array.from(codes, () => []);
  for (const [i, word] of all.entries()) {
    for (const place of places.get((word & mask) >>> 0) ?? []) found[place]?.push(first + i);
  }
  return found;
}

const listsOf = ({ starts, values }: { starts: Uint32Array; values: Uint32Array }) =>
  [...starts.subarray(1)].map((end, i) => [...values.subarray(starts[i], end)]);

describe('a sliced table', () => {
  it.each(availableEngines().map(({ name }) => name))('has every value of every code, engine %s', async (engine) => {
    const order = engine === 'ts' ? 17 : 20;
    const size = 2 ** order;
    const codes = Uint32Array.from([
      ...codesOf(
        order,
        noise('values', 400).map((value) => value % size),
      ),
      ...noise('codes', 400).map((word) => word % size),
      0,
      size - 1,
    ]);
    const expected = bruteForce(order, codes, 0, size);
    const options: SlicedOptions = { order, key, engine, sliceOrder: 16, threads: engine === 'native' ? 2 : 0 };
    const table = await createSlicedTable(options);
    expect(table.bytes).toBe(slicedTableBytes(2 ** (order - 16), 16));
    expect(listsOf(await table.lookUp(codes))).toEqual(expected);
    expect(listsOf(await table.lookUp(codes.subarray(0, 9)))).toEqual(expected.slice(0, 9));
    await table.close();
    await expect(table.lookUp(codes)).rejects.toEqual(code('E_STATE'));
    expect(listsOf(await resolveInPasses(options, codes))).toEqual(expected);
  });

  it('has the values of some slices of order 32, up to the last value', async () => {
    const first = 2 ** 32 - 3 * 65_536;
    const values = noise('high', 300).map((value) => first + (value % (3 * 65_536)));
    const codes = Uint32Array.from([...codesOf(32, values), ...codesOf(32, Uint32Array.of(2 ** 32 - 1, 7)), 123_456]);
    const done: number[] = [];
    const options: SlicedOptions = { order: 32, key, sliceOrder: 16, firstSlice: 65_533, sliceCount: 3 };
    const found = listsOf(await resolveInPasses({ ...options, onProgress: (n) => done.push(n) }, codes));
    expect(found).toEqual(bruteForce(32, codes, first, 3 * 65_536));
    for (const [i, value] of values.entries()) expect(found[i]).toContain(value);
    expect(found[300]).toContain(2 ** 32 - 1);
    expect(done).toEqual([1, 2, 3]);
  });

  it('has a slice of 2^24 values of order 32', async () => {
    const base = 200 * 2 ** 24;
    const values = noise('slice', 2_000).map((value) => base + (value >>> 8));
    const table = await createSlicedTable({ order: 32, key, firstSlice: 200, sliceCount: 1 });
    const found = listsOf(await table.lookUp(codesOf(32, values)));
    await table.close();
    for (const [i, value] of values.entries()) expect(found[i]).toContain(value);
    // 2,000 values of 2^24: about 8 times a code of 32 bits is shared with another value.
    expect(found.flat().length).toBeLessThan(2_100);
  });

  it('reports its memory, and rejects an allocation beyond it', async () => {
    expect(slicedTableBytes(256)).toBeGreaterThan(2 ** 34);
    const refused = createSlicedTable({ order: 32, key }, 2 ** 34);
    await expect(refused).rejects.toMatchObject({
      code: 'E_MEMORY',
      message: 'a table of order 32 takes 18.26 GB, and 17.18 GB are available',
      data: { bytes: slicedTableBytes(256), available: 2 ** 34 },
    });
  });

  it('rejects invalid orders, slices and codes', async () => {
    for (const wrong of [
      { order: 33 },
      { order: 16 },
      { order: 20 },
      { firstSlice: 256 },
      { sliceCount: 0 },
      { threads: -1 },
    ]) {
      const made = createSlicedTable({ order: 32, key, ...wrong }, Number.POSITIVE_INFINITY);
      await expect(made).rejects.toEqual(code('E_INPUT'));
    }
    const small: SlicedOptions = { order: 17, key, sliceOrder: 16 };
    await expect(resolveInPasses(small, Uint32Array.of(2 ** 17))).rejects.toEqual(code('E_INPUT'));
  });

  it('stops when it is aborted', async () => {
    const stop = new AbortController();
    const work = resolveInPasses(
      { order: 20, key, sliceOrder: 16, signal: stop.signal, onProgress: () => stop.abort(new Error('enough')) },
      Uint32Array.of(1),
    );
    await expect(work).rejects.toThrow('enough');
  });
});
