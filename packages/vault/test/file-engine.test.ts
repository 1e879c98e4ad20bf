import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bytes, Closer, systemRandom, toHex } from '@millrace/base';
import { type Cells, MemoryCells, type NewCell, openLmdb } from '@millrace/stores';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  applyOuterLayer,
  CellStore,
  InProcessEngine,
  MAINTAIN,
  MAY_BE_ABSENT,
  type MaintainMessage,
  openFileEngine,
  Packed,
  SEGMENT_BYTES,
} from '../src/index.ts';
import { outerMask } from '../src/outer.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace file engine-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const EMPTY = new Uint8Array();

describe('a sweep step in worker threads', () => {
  it('makes the same cells as one in this thread, by keys and by masks, in any mix, repeated or not', async () => {
    const COUNT = 600;
    // toEqual compares large arrays one byte at a time.
    const same = (a: Bytes | undefined, b: Bytes | undefined) =>
      a === undefined || b === undefined ? a === b : Buffer.compare(a, b) === 0;
    const cells = Array.from({ length: COUNT }, (_, n) => ({
      body: systemRandom(SEGMENT_BYTES),
      oldIndex: systemRandom(20),
      newIndex: systemRandom(20),
      oldKey: systemRandom(32),
      newKey: systemRandom(32),
      flags: n % 5 === 0 ? MAY_BE_ABSENT : 0,
      masked: n % 3 === 0,
    }));
    const closer = new Closer();
    const lmdb = closer.add(openLmdb({ path: folder }));
    const path = join(folder, 'cells.bin');
    const engine = closer.add(await openFileEngine({ lmdb, index: 'cell-index', path, threads: 2 }));
    const file = engine.cells;
    const plain: Cells = new MemoryCells();
    for (const store of [file, plain]) {
      for (const epoch of [3, 4]) await store.create(epoch);
      await store.put(
        cells.flatMap(({ oldIndex: index, body }, n): NewCell[] => {
          if (n % 50 === 1 || n % 50 === 5) return []; // missing; some of them may be absent
          const epoch = n % 50 === 2 ? 3 : 4;
          return [{ index, epoch, body: n % 50 === 3 ? body.subarray(1) : body }];
        }),
      );
    }
    const message = (): MaintainMessage => ({
      type: 'maintain',
      to: 5,
      lane: 0,
      number: 1,
      fence: 0,
      items: Packed.of(
        MAINTAIN.items,
        cells.filter(({ masked }) => !masked),
      ),
      masked: Packed.of(
        MAINTAIN.masked,
        cells.filter(({ masked }) => masked).map((cell) => ({ ...cell, mask: maskOf(cell) })),
      ),
      points: Packed.of(MAINTAIN.points, []),
      forget: Packed.of(MAINTAIN.forget, []),
    });
    const maskOf = ({ oldKey, newKey }: { oldKey: Bytes; newKey: Bytes }) => {
      const mask = new Uint8Array(SEGMENT_BYTES);
      outerMask(oldKey, newKey, mask);
      return mask;
    };
    const byName = (list: readonly Bytes[]) => list.map((one) => toHex(one)).sort();
    for (let round = 0; round < 2; round++) {
      const a = await new CellStore(engine).maintain(message());
      const b = await new CellStore(new InProcessEngine(plain)).maintain(message());
      expect(byName(a.missing)).toEqual(byName(b.missing));
      expect(byName(a.damaged)).toEqual(byName(b.damaged));
      expect(a.missing.length).toBeGreaterThan(0);
      expect(a.damaged.length).toBeGreaterThan(0);
      for (const { newIndex } of cells) {
        const [one, other] = [await file.get(newIndex), await plain.get(newIndex)];
        expect(one?.epoch).toBe(other?.epoch);
        expect(same(one?.body, other?.body)).toBe(true);
      }
    }
    const sound = cells[10];
    const renewed = await plain.get(sound?.newIndex ?? EMPTY);
    expect(applyOuterLayer(sound?.newKey ?? EMPTY, renewed?.body ?? EMPTY)).toEqual(
      applyOuterLayer(sound?.oldKey ?? EMPTY, sound?.body ?? EMPTY),
    );
    // The next step forgets the old places. Their slots are free for the step after it.
    await new CellStore(engine).maintain({
      ...message(),
      items: Packed.of(MAINTAIN.items, []),
      masked: Packed.of(MAINTAIN.masked, []),
      forget: Packed.of(
        MAINTAIN.forget,
        cells.map(({ oldIndex }) => ({ index: oldIndex })),
      ),
    });
    let left = 0;
    for await (const _ of file.outline()) left++;
    expect(file.usage().taken).toBe(left);
    await closer.close();
  });
});
