import { fromHex, systemRandom, toHex } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import { decoyBytes, decoyHash, decoySeed } from '../src/decoys.ts';
import { applyOuterLayer, SEGMENT_BYTES } from '../src/index.ts';
import { cellIndex, indexKey, outerKey } from '../src/outer.ts';
import { pattern, readVectors, type Short, short } from './vectors.ts';

interface OuterVectors {
  readonly epochKey: string;
  readonly design: string;
  readonly indexKey: string;
  readonly cells: readonly { segment: number; outerKey: string; index: string; body: Short }[];
  readonly decoySecret: string;
  readonly decoys: readonly { number: number; seed: string; bytes: Short }[];
}
const vectors = readVectors<OuterVectors>('outer.json');

describe('the outer layer', () => {
  it.each(vectors.cells)('vectors/vault/outer.json: segment $segment', (cell) => {
    const epochKey = fromHex(vectors.epochKey);
    const design = fromHex(vectors.design);
    expect(toHex(indexKey(epochKey))).toBe(vectors.indexKey);
    const key = outerKey(epochKey, design, cell.segment);
    expect(toHex(key)).toBe(cell.outerKey);
    expect(toHex(cellIndex(indexKey(epochKey), design, cell.segment))).toBe(cell.index);
    expect(short(applyOuterLayer(key, pattern(SEGMENT_BYTES)))).toEqual(cell.body);
  });

  it.each(vectors.decoys)('vectors/vault/outer.json: decoy $number', ({ number, seed, bytes }) => {
    const secret = fromHex(vectors.decoySecret);
    expect(toHex(decoySeed(secret, number))).toBe(seed);
    expect(short(decoyBytes(fromHex(seed)))).toEqual(bytes);
    expect(toHex(decoyHash(secret, number))).toBe(bytes.sha256);
  });

  it('is removed by applying it again; two applications change the key', () => {
    const sealed = systemRandom(SEGMENT_BYTES);
    const [a, b] = [systemRandom(32), systemRandom(32)];
    const body = applyOuterLayer(a, sealed);
    expect(body).not.toEqual(sealed);
    const moved = applyOuterLayer(b, applyOuterLayer(a, body));
    expect(applyOuterLayer(b, moved)).toEqual(sealed);
    expect(applyOuterLayer(a, moved)).not.toEqual(sealed);
  });
});
