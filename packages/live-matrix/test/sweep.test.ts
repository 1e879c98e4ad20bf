import { describe, expect, it } from 'vitest';
import { availableEngines, createEngine } from '../src/engines/choose.ts';
import type { HashKey } from '../src/engines/engine.ts';
import { resolveBySweep } from '../src/table/sweep.ts';

const key: HashKey = { suite: 'turboshake128', revision: 9n, key: new Uint8Array(32).fill(5) };

/** The code of one value, computed by the reference engine. */
function codeOf(order: number, g: bigint): bigint {
  const out = new Uint32Array(2);
  createEngine('ts').hashBatch(key, Number(g >> 32n), Uint32Array.of(Number(g & 0xffffffffn)), out);
  return BigInt.asUintN(order, (BigInt(out[1] ?? 0) << 32n) | BigInt(out[0] ?? 0));
}

describe('a sweep without a table', () => {
  it('finds every value of every code at order 16, like a table', async () => {
    const codes = Array.from({ length: 200 }, (_, i) => BigInt(i * 327));
    const expected: bigint[][] = codes.map(() => []);
    const all = new Uint32Array(65_536);
    createEngine('ts').hashRange(key, 0, all);
    for (const [g, word] of all.entries()) expected[codes.indexOf(BigInt(word & 0xffff))]?.push(BigInt(g));
    for (const { name } of availableEngines()) {
      expect(await resolveBySweep({ order: 16, key, codes, engine: name, threads: 0 })).toEqual(expected);
    }
  });

  it.each([32, 36])('finds values of order %i, in threads, across multiples of 2^32', async (order) => {
    const middle = order === 36 ? 9n << 32n : 5n << 29n;
    const values = [middle - 40_000n, middle - 1n, middle, middle + 99_999n];
    const codes = [...values.map((g) => codeOf(order, g)), 12_345n];
    const steps: bigint[] = [];
    const found = await resolveBySweep({
      order,
      key,
      codes,
      threads: 2,
      from: middle - 40_001n,
      to: middle + 100_000n,
      onProgress: (done) => steps.push(done),
    });
    expect(found.slice(0, 4)).toEqual(values.map((g) => [g]));
    expect(found[4]).toEqual([]);
    expect(steps.at(-1)).toBe(140_001n);
  });

  it('rejects values and codes beyond the order', async () => {
    for (const wrong of [{ order: 37 }, { codes: [1n << 24n] }, { to: (1n << 24n) + 1n }]) {
      const options = { order: 24, key, codes: [], threads: 0, ...wrong };
      await expect(resolveBySweep(options)).rejects.toEqual(expect.objectContaining({ code: 'E_INPUT' }));
    }
  });
});
