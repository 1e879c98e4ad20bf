import { existsSync, mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bytes, systemRandom, toHex } from '@millrace/base';
import { MemoryStore, openLmdb } from '@millrace/stores';
import { type StoreHarness, storeCases } from '@millrace/stores/compliance';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  applyOuterLayer,
  type CellFile,
  CellStore,
  MAINTAIN,
  MAY_BE_ABSENT,
  type MaintainMessage,
  openCellFile,
  Packed,
  SEGMENT_BYTES,
} from '../src/index.ts';
import { outerMask } from '../src/outer.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace cell file-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('a cell file is a store', () => {
  const open = async (): Promise<StoreHarness> => {
    const own = mkdtempSync(join(tmpdir(), 'millrace cell file-'));
    let lmdb = openLmdb({ path: own });
    const begin = () => openCellFile({ index: lmdb.store('cell-index'), path: join(own, 'cells.bin') });
    let store = await begin();
    const end = async () => {
      await store.close();
      await lmdb.close();
    };
    return {
      store,
      reopen: async () => {
        await end();
        lmdb = openLmdb({ path: own });
        store = await begin();
        return store;
      },
      dispose: async () => {
        await end();
        rmSync(own, { recursive: true, force: true });
      },
    };
  };
  for (const { name, run } of storeCases) it(name, () => run(open));
});

const CELL = 4 + SEGMENT_BYTES;
const key = (n: number): Bytes => Uint8Array.from({ length: 20 }, (_, i) => (i === 0 ? n & 255 : n >> 8));

describe('values of a cell’s length', () => {
  let index: MemoryStore;
  let file: CellFile;
  const path = () => join(folder, 'cells.bin');
  beforeEach(async () => {
    index = new MemoryStore();
    file = await openCellFile({ index, path: path() });
  });
  afterEach(() => file.close());

  it('lie in slots of four pages; the index has a few bytes of each', async () => {
    const values = Array.from({ length: 12 }, () => systemRandom(CELL));
    await file.batch(values.map((value, n) => ({ put: key(n), value })));
    for (const [n, value] of values.entries()) {
      expect(await file.get(key(n))).toEqual(value);
      expect((await index.get(key(n)))?.length).toBeLessThan(20);
    }
    expect(statSync(path()).size).toBe(12 * 16_384);
  });

  it('slots of deleted values are reused, also after reopening; the file does not grow', async () => {
    for (let n = 0; n < 8; n++) await file.put(key(n), systemRandom(CELL));
    for (let round = 0; round < 3; round++) {
      for (let n = 0; n < 8; n += 2) await file.delete(key(n));
      expect(file.usage()).toEqual({ slots: 8, taken: 4 });
      if (round === 1) {
        await file.close();
        file = await openCellFile({ index, path: path() });
      }
      const values = Array.from({ length: 4 }, () => systemRandom(CELL));
      await file.batch(values.map((value, i) => ({ put: key(2 * i), value })));
      for (const [i, value] of values.entries()) expect(await file.get(key(2 * i))).toEqual(value);
      expect(file.usage()).toEqual({ slots: 8, taken: 8 });
    }
    expect(statSync(path()).size).toBe(8 * 16_384);
  });

  it('an index that names one slot twice is refused, and a file that is not there', async () => {
    for (const n of [1, 2]) await file.put(key(n), systemRandom(CELL));
    const copy = new MemoryStore();
    for await (const entry of index.range()) await copy.put(entry.key, entry.value);
    await copy.put(key(3), (await index.get(key(1))) ?? key(0));
    await expect(openCellFile({ index: copy, path: path() })).rejects.toMatchObject({ code: 'E_STORE' });
    const elsewhere = join(folder, 'not mounted.bin');
    for (let start = 0; start < 2; start++)
      await expect(openCellFile({ index, path: elsewhere })).rejects.toMatchObject({ code: 'E_STORE' });
    expect(existsSync(elsewhere)).toBe(false);
  });

  it('a truncated file has lost only the values beyond its end', async () => {
    const values = Array.from({ length: 4 }, () => systemRandom(CELL));
    for (const [n, value] of values.entries()) await file.put(key(n), value);
    await file.close();
    let held = 4;
    for (const [length, kept] of [
      [4 * 16_384 - 1, 3],
      [2 * 16_384 + 1, 2],
      [2 * 16_384, 2],
      [0, 0],
    ] as const) {
      truncateSync(path(), length);
      file = await openCellFile({ index, path: path() });
      expect(file.lost).toBe(held - kept);
      held = kept;
      expect(file.usage()).toEqual({ slots: kept, taken: kept });
      for (const [n, value] of values.entries()) expect(await file.get(key(n))).toEqual(n < kept ? value : undefined);
      await file.close();
    }
    file = await openCellFile({ index, path: path() });
    expect(file.lost).toBe(0);
    await file.put(key(9), values[0] ?? key(0));
    expect(await file.get(key(9))).toEqual(values[0]);
  });

  it.each(['ENOSPC', 'EROFS', 'EIO'] as const)(
    'a write that %s refuses is not stored, and later writes succeed',
    async (code) => {
      const value = systemRandom(CELL);
      await file.put(key(1), value);
      const handle = await openFile(path(), 'r+');
      const methods = Object.getPrototypeOf(handle) as { writev: unknown; datasync: unknown };
      await handle.close();
      for (const method of ['writev', 'datasync'] as const) {
        const original = methods[method];
        methods[method] = () => Promise.reject(Object.assign(new Error(code), { code }));
        try {
          const expected = { ENOSPC: 'E_DISK_FULL', EROFS: 'E_READ_ONLY', EIO: 'E_STORE' }[code];
          await expect(file.put(key(2), value)).rejects.toMatchObject({ code: expected });
          await expect(file.put(key(1), systemRandom(CELL))).rejects.toMatchObject({ code: expected });
        } finally {
          methods[method] = original;
        }
        expect(await file.get(key(1))).toEqual(value);
        expect(await file.has(key(2))).toBe(false);
        expect(file.usage().taken).toBe(1);
      }
      await file.put(key(2), value);
      expect(await file.get(key(2))).toEqual(value);
    },
  );

  it('slots that a crash left in the file but not in the index are free', async () => {
    await file.put(key(1), systemRandom(CELL));
    const before = new MemoryStore();
    for await (const entry of index.range()) await before.put(entry.key, entry.value);
    await file.put(key(2), systemRandom(CELL)); // the index of before does not know it
    const again = await openCellFile({ index: before, path: path() });
    expect(again.usage()).toEqual({ slots: 2, taken: 1 });
    const value = systemRandom(CELL);
    await again.put(key(9), value);
    expect(again.usage()).toEqual({ slots: 2, taken: 2 });
    expect(await again.get(key(9))).toEqual(value);
    await again.close();
  });
});

describe('a step of a sweep in threads', () => {
  it('makes the same cells as one in this thread, by keys and by masks, in any mix, repeated or not', async () => {
    const COUNT = 600;
    // toEqual looks at every byte one by one.
    const same = (a: Bytes | undefined, b: Bytes | undefined) =>
      a === undefined || b === undefined ? a === b : Buffer.compare(a, b) === 0;
    const cells = Array.from({ length: COUNT }, (_, n) => ({
      value: Uint8Array.from([0, 0, 0, 4, ...systemRandom(SEGMENT_BYTES)]),
      oldIndex: systemRandom(20),
      newIndex: systemRandom(20),
      oldKey: systemRandom(32),
      newKey: systemRandom(32),
      flags: n % 5 === 0 ? MAY_BE_ABSENT : 0,
      masked: n % 3 === 0,
    }));
    const file = await openCellFile({ index: new MemoryStore(), path: join(folder, 'cells.bin'), threads: 2 });
    const plain = new MemoryStore();
    for (const store of [file, plain]) {
      await store.batch(
        cells.flatMap(({ oldIndex, value }, n) => {
          if (n % 50 === 1 || n % 50 === 5) return []; // lost; some may be
          const bytes = value.slice();
          if (n % 50 === 2) bytes[3] = 3; // of another epoch
          return [{ put: oldIndex, value: n % 50 === 3 ? bytes.subarray(1) : bytes }];
        }),
      );
    }
    const message = (): MaintainMessage => ({
      type: 'maintain',
      to: 5,
      number: 1,
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
      const a = await new CellStore(file).maintain(message());
      const b = await new CellStore(plain).maintain(message());
      expect(byName(a.missing)).toEqual(byName(b.missing));
      expect(byName(a.damaged)).toEqual(byName(b.damaged));
      expect(a.missing.length).toBeGreaterThan(0);
      expect(a.damaged.length).toBeGreaterThan(0);
      for (const { newIndex } of cells) expect(same(await file.get(newIndex), await plain.get(newIndex))).toBe(true);
    }
    const sound = cells[10];
    const renewed = await plain.get(sound?.newIndex ?? key(0));
    expect(applyOuterLayer(sound?.newKey ?? key(0), renewed?.subarray(4) ?? key(0))).toEqual(
      applyOuterLayer(sound?.oldKey ?? key(0), sound?.value.subarray(4) ?? key(0)),
    );
    // The next step forgets the old places, and their slots serve the step after.
    await new CellStore(file).maintain({
      ...message(),
      items: Packed.of(MAINTAIN.items, []),
      masked: Packed.of(MAINTAIN.masked, []),
      forget: Packed.of(
        MAINTAIN.forget,
        cells.map(({ oldIndex }) => ({ index: oldIndex })),
      ),
    });
    let left = 0;
    for await (const _ of file.range()) left++;
    expect(file.usage().taken).toBe(left);
    await file.close();
  });
});
