import { keccak_256 } from '@noble/hashes/sha3.js';
import { turboshake128 } from '@noble/hashes/sha3-addons.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { availableEngines, createEngine } from '../src/engines/choose.ts';
import { engineNames, type HashKey } from '../src/engines/engine.ts';
import { suites } from '../src/suites.ts';

/** H by its definition, computed by another library. */
function reference(key: HashKey, high: number, value: number): [number, number] {
  const message = new Uint8Array(48);
  const view = new DataView(message.buffer);
  view.setUint32(0, value, true);
  view.setUint32(4, high, true);
  view.setBigUint64(8, key.revision, true);
  message.set(key.key, 16);
  const digest = key.suite === 'keccak256' ? keccak_256(message) : turboshake128(message, { D: 0x4d, dkLen: 32 });
  const out = new DataView(digest.buffer, digest.byteOffset);
  return [out.getUint32(0, true), out.getUint32(4, true)];
}

const anyWord = fc.integer({ min: 0, max: 0xffffffff });
const anyKey = fc.record({
  suite: fc.constantFrom(suites.keccak256.name, suites.turboshake128.name),
  revision: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  key: fc.uint8Array({ minLength: 32, maxLength: 32 }),
});

describe.each(availableEngines().map((engine) => [engine.name, engine] as const))('engine %s', (_, engine) => {
  it('gives lane 0 of the suite for any key and any values, in batches of any size', () => {
    fc.assert(
      fc.property(anyKey, anyWord, fc.array(anyWord, { maxLength: 40 }), (key, high, values) => {
        const out = new Uint32Array(2 * values.length);
        engine.hashBatch(key, high, Uint32Array.from(values), out);
        expect([...out]).toEqual(values.flatMap((value) => reference(key, high, value)));
      }),
      { numRuns: 60 },
    );
  });

  it('hashes ranges that start anywhere and have odd sizes', () => {
    fc.assert(
      fc.property(anyKey, fc.integer({ min: 0, max: 0xffffff00 }), fc.integer({ max: 77, min: 0 }), (key, first, n) => {
        const out = new Uint32Array(n);
        engine.hashRange(key, first, out);
        expect([...out]).toEqual(Array.from({ length: n }, (_, i) => reference(key, 0, first + i)[0]));
      }),
      { numRuns: 40 },
    );
  });

  it('agrees with the reference engine over chunks, at unaligned offsets', () => {
    const key: HashKey = { suite: 'turboshake128', revision: 3n, key: new Uint8Array(32).fill(9) };
    const [out, expected] = [new Uint32Array(9001), new Uint32Array(9001)];
    engine.hashRange(key, 0xfff1, out.subarray(1));
    createEngine('ts').hashRange(key, 0xfff1, expected.subarray(1));
    expect(Buffer.compare(new Uint8Array(out.buffer), new Uint8Array(expected.buffer))).toBe(0);
  });

  it('rejects a key of the wrong length', () => {
    const key: HashKey = { suite: 'keccak256', revision: 0n, key: new Uint8Array(31) };
    expect(() => engine.hashBatch(key, 0, new Uint32Array(1), new Uint32Array(2))).toThrow(RangeError);
  });
});

describe('the default engine', () => {
  it('can be set and is reported', () => {
    for (const { name } of availableEngines()) expect(createEngine(name).name).toBe(name);
  });

  it('is the first of the list that runs', () => {
    const running = availableEngines().map(({ name }) => name);
    expect(running).toEqual(engineNames.filter((name) => running.includes(name)));
    expect(createEngine().name).toBe(running[0]);
    expect(running).toEqual(expect.arrayContaining(['wasm-simd', 'wasm', 'ts']));
  });
});
