import { type Bytes, fromHex, systemRandom, toHex } from '@millrace/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { POINTS_BYTES, SEGMENT_BYTES } from '../src/index.ts';
import { embed, extract, Point } from '../src/points/embed.ts';
import { pointsKey, pointsLabel, pointsToken } from '../src/points/keys.ts';
import { addPoints, movePoints, takeOffPoints } from '../src/points/layer.ts';
import { PointsPool } from '../src/points/points-pool.ts';
import { pattern, readVectors, type Short, short } from './vectors.ts';

interface PointsVectors {
  readonly design: string;
  readonly segment: number;
  readonly secret: string;
  readonly label: string;
  readonly epochs: readonly { epochKey: string; key: string; body: Short }[];
  readonly token: string;
}
const vectors = readVectors<PointsVectors>('points.json');
const label = fromHex(vectors.label);
const sealed = pattern(SEGMENT_BYTES);
const keyOf = (epoch: 0 | 1) => fromHex(vectors.epochs[epoch]?.key ?? '');
const first = addPoints(keyOf(0), label, sealed);

describe('the layer of points', () => {
  it('vectors/vault/points.json: label, keys, token, the cell in two epochs', () => {
    const design = fromHex(vectors.design);
    expect(toHex(pointsLabel(fromHex(vectors.secret), design, vectors.segment))).toBe(vectors.label);
    for (const { epochKey, key } of vectors.epochs) {
      expect(toHex(pointsKey(fromHex(epochKey), design, vectors.segment))).toBe(key);
    }
    expect(toHex(pointsToken(keyOf(0), keyOf(1)))).toBe(vectors.token);
    expect(short(first)).toEqual(vectors.epochs[0]?.body);
    expect(short(movePoints(fromHex(vectors.token), label, first))).toEqual(vectors.epochs[1]?.body);
  });

  it('is removed by the key of its epoch, and by no other', () => {
    expect(takeOffPoints(keyOf(0), label, first)).toEqual(sealed);
    expect(() => takeOffPoints(keyOf(1), label, first)).toThrow(expect.objectContaining({ code: 'E_SEAL' }));
    expect(() => takeOffPoints(keyOf(0), systemRandom(32), first)).toThrow(expect.objectContaining({ code: 'E_SEAL' }));
  });

  it('rejects bytes that are not points, too short or padded wrongly', () => {
    const off = (change: (body: Bytes) => Bytes) => () => movePoints(keyOf(0), label, change(first.slice()));
    const damaged = expect.objectContaining({ code: 'E_CELL_DAMAGED' });
    expect(off((body) => body.fill(0x04, 0, 1))).toThrow(damaged);
    expect(off((body) => body.fill(0xff, 34, 66))).toThrow(damaged);
    expect(off((body) => body.fill(1, POINTS_BYTES - 1))).toThrow(damaged);
    expect(off((body) => body.slice(1))).toThrow(damaged);
  });

  it('encodes any bytes in points with x below 2^248 and an even y', () => {
    const bytes = fc.uint8Array({ minLength: 64, maxLength: 64 });
    fc.assert(
      fc.property(bytes, fc.nat(SEGMENT_BYTES - 64), (piece, at) => {
        const segment = new Uint8Array(SEGMENT_BYTES).fill(255);
        segment.set(piece, at);
        const points = embed(segment);
        for (const point of points) {
          const { x, y } = point.toAffine();
          expect(x >> 248n).toBe(0n);
          expect(y & 1n).toBe(0n);
        }
        expect(extract(points)).toEqual(segment);
      }),
      { numRuns: 3 },
    );
    expect(() => extract([...embed(sealed).slice(1), Point.ZERO])).toThrow(expect.objectContaining({ code: 'E_SEAL' }));
  });

  it('has additive tokens: from any epoch to any other in one step, whatever the keys', () => {
    const scalar = fc.uint8Array({ minLength: 32, maxLength: 32 });
    fc.assert(
      fc.property(scalar, scalar, scalar, (a, b, c) => {
        const [x, y, z] = [a, b, c].map((bytes) => pointsKey(bytes, label.subarray(0, 16), 0)) as [Bytes, Bytes, Bytes];
        const added = pointsToken(pointsToken(y, x), pointsToken(y, z));
        expect(added).toEqual(pointsToken(x, z));
        expect(toHex(pointsToken(x, x))).toBe('00'.repeat(32));
      }),
    );
  });
});

describe('worker threads for points', () => {
  it('give the results and errors of the calling thread, in any order; a closed pool rejects jobs', async () => {
    const pool = new PointsPool(2);
    try {
      const token = fromHex(vectors.token);
      const jobs = [
        pool.run({ kind: 'add', scalar: keyOf(0), label, bytes: sealed }),
        pool.run({ kind: 'move', scalar: token, label, bytes: first }),
        pool.run({ kind: 'takeOff', scalar: keyOf(0), label, bytes: first }),
      ];
      const bad = pool.run({ kind: 'move', scalar: token, label, bytes: first.subarray(1) });
      await expect(bad).rejects.toMatchObject({ code: 'E_CELL_DAMAGED' });
      const [added, moved, off] = await Promise.all(jobs);
      expect(added?.bytes).toEqual(first);
      expect(short(moved?.bytes ?? new Uint8Array())).toEqual(vectors.epochs[1]?.body);
      expect(off?.bytes).toEqual(sealed);
      expect(off?.workMs).toBeGreaterThan(0);
      expect(token).toEqual(fromHex(vectors.token));
    } finally {
      await pool.close();
    }
    await expect(pool.run({ kind: 'add', scalar: keyOf(0), label, bytes: sealed })).rejects.toMatchObject({
      code: 'E_UNAVAILABLE',
    });
  });
});
