import { concatBytes, toHex, utf8 } from '@millrace/base';
import { codeOf, leavesByRule, MemoryStore, naiveRoot } from '@millrace/testkit/ledger/helpers';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Growth } from '../src/growth.ts';
import {
  decodeBundle,
  encodeBundle,
  inclusionProof,
  parseTilePath,
  tileNodes,
  tilePath,
  tilesOf,
  verifyInclusion,
} from '../src/index.ts';
import { tileKey } from '../src/keys.ts';

describe('tiles', () => {
  test('paths round-trip', () => {
    fc.assert(
      fc.property(
        fc.nat(1e12),
        fc.integer({ min: 1, max: 256 }),
        fc.integer({ min: 0, max: 63 }),
        (index, width, level) => {
          const tile = { kind: 'hashes', level, index, width } as const;
          const bundle = { kind: 'entries', index, width } as const;
          expect(parseTilePath(tilePath(tile))).toEqual(tile);
          expect(parseTilePath(tilePath(bundle))).toEqual(bundle);
        },
      ),
    );
  });

  test('a tree of 70,000 entries has the number of tiles that the specification gives', () => {
    const tiles = [...tilesOf(70_000)];
    expect(tiles.filter(({ level, width }) => level === 0 && width === 256)).toHaveLength(273);
    expect(tiles.slice(273)).toEqual([
      { level: 0, index: 273, width: 112 },
      { level: 1, index: 0, width: 256 },
      { level: 1, index: 1, width: 17 },
      { level: 2, index: 0, width: 1 },
    ]);
    expect([...tilesOf(256)]).toEqual([
      { level: 0, index: 0, width: 256 },
      { level: 1, index: 0, width: 1 },
    ]);
    expect([...tilesOf(0)]).toEqual([]);
  });

  test('growth by any steps gives the tiles of the complete tree, and proofs from them verify', async () => {
    const leaves = leavesByRule(1400);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 600 }), { minLength: 1, maxLength: 4 }),
        fc.nat(),
        async (steps, pick) => {
          const store = new MemoryStore();
          let growth = Growth.empty();
          for (const step of steps) {
            const { next, writes } = growth.extend(
              concatBytes(...leaves.slice(growth.size, Math.min(1400, growth.size + step))),
            );
            await store.batch(writes);
            growth = next;
          }
          const root = naiveRoot(leaves.slice(0, growth.size));
          expect(growth.root()).toEqual(root);
          expect((await Growth.load(store, growth.size)).root()).toEqual(root);
          expect(store.map.size).toBe([...tilesOf(growth.size)].length);
          for (const { level, index, width } of tilesOf(growth.size)) {
            const tile = await store.get(tileKey(level, index));
            expect(tile?.length).toBe(width * 32);
            const first = naiveRoot(
              leaves.slice(index * 256 ** (level + 1), index * 256 ** (level + 1) + 256 ** level),
            );
            expect(toHex(tile?.subarray(0, 32) ?? root)).toBe(toHex(first));
          }
          const at = pick % growth.size;
          const proof = await inclusionProof(
            at,
            growth.size,
            tileNodes((level, index) => store.get(tileKey(level, index))),
          );
          expect(verifyInclusion(leaves[at] ?? root, at, growth.size, proof, root)).toBe(true);
        },
      ),
      { numRuns: 8 },
    );
  });

  test('names a missing or truncated tile', async () => {
    const read = tileNodes(async (level) => (level === 0 ? new Uint8Array(40) : undefined));
    await expect(read(0, 1)).rejects.toThrow('tile/0/000 is too short');
    await expect(read(8, 3)).rejects.toThrow('tile/1/000 is missing');
    expect(await codeOf(() => read(8, 3))).toBe('E_LEDGER_TRUNCATED');
  });

  test('entry bundles contain complete entries with u16 length prefixes', async () => {
    const entries = [utf8('one'), utf8(''), new Uint8Array(65_535).fill(1)];
    expect(decodeBundle(encodeBundle(entries))).toEqual(entries);
    expect(toHex(encodeBundle([utf8('one')]))).toBe('00036f6e65');
    expect(() => encodeBundle([new Uint8Array(65_536)])).toThrow(RangeError);
    expect(await codeOf(() => decodeBundle(Uint8Array.of(0, 2, 1)))).toBe('E_LEDGER_ENTRY');
    expect(await codeOf(() => decodeBundle(Uint8Array.of(0)))).toBe('E_LEDGER_ENTRY');
  });
});
