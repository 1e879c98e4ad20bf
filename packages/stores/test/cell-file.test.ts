import { existsSync, mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bytes, systemRandom } from '@millrace/base';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type CellFile, openCellFile } from '../src/cell-file/cell-file.ts';
import type { NewCell } from '../src/index.ts';
import { MemoryStore } from '../src/memory.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'millrace cell file-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const BODY = 16_386;
const SLOT = 16_384;
const key = (n: number): Bytes => Uint8Array.from({ length: 20 }, (_, i) => (i === 0 ? n & 255 : n >> 8));

/** A cell with random bytes. */
const cell = (n: number): NewCell => ({ index: key(n), epoch: 4, body: systemRandom(BODY) });

describe('cells in a slot file', () => {
  let index: MemoryStore;
  let file: CellFile;
  const path = () => join(folder, 'cells.bin');
  const begin = async (over = index, at = path()): Promise<CellFile> => {
    const opened = await openCellFile(over, { path: at, slotBytes: SLOT });
    await opened.create(4);
    return opened;
  };
  const bodyAt = async (n: number) => (await file.get(key(n)))?.body;
  beforeEach(async () => {
    index = new MemoryStore();
    file = await begin();
  });
  afterEach(() => file.close());

  it('take four pages each; the index has a few bytes per cell', async () => {
    const cells = Array.from({ length: 12 }, (_, n) => cell(n));
    await file.put(cells);
    for (const [n, { body }] of cells.entries()) {
      expect(await bodyAt(n)).toEqual(body);
      expect((await index.get(key(n)))?.length).toBeLessThan(20);
    }
    expect(statSync(path()).size).toBe(12 * 16_384);
  });

  it('reuse the slots of removed cells, also after reopening; the file does not grow', async () => {
    for (let n = 0; n < 8; n++) await file.put([cell(n)]);
    for (let round = 0; round < 3; round++) {
      for (let n = 0; n < 8; n += 2) await file.remove([key(n)]);
      expect(file.usage()).toEqual({ slots: 8, taken: 4 });
      if (round === 1) {
        await file.close();
        file = await begin();
      }
      const cells = Array.from({ length: 4 }, (_, i) => cell(2 * i));
      await file.put(cells);
      for (const [i, { body }] of cells.entries()) expect(await bodyAt(2 * i)).toEqual(body);
      expect(file.usage()).toEqual({ slots: 8, taken: 8 });
    }
    expect(statSync(path()).size).toBe(8 * 16_384);
  });

  it('reject an index that names one slot twice, and a missing file', async () => {
    for (const n of [1, 2]) await file.put([cell(n)]);
    const copy = new MemoryStore();
    for await (const entry of index.range()) await copy.put(entry.key, entry.value);
    await copy.put(key(3), (await index.get(key(1))) ?? key(0));
    await expect(begin(copy)).rejects.toMatchObject({ code: 'E_STORE' });
    const elsewhere = join(folder, 'not mounted.bin');
    for (let start = 0; start < 2; start++)
      await expect(begin(index, elsewhere)).rejects.toMatchObject({ code: 'E_STORE' });
    expect(existsSync(elsewhere)).toBe(false);
  });

  it('are lost only beyond the end of a truncated file', async () => {
    const cells = Array.from({ length: 4 }, (_, n) => cell(n));
    for (const one of cells) await file.put([one]);
    await file.close();
    let held = 4;
    for (const [length, kept] of [
      [4 * 16_384 - 1, 3],
      [2 * 16_384 + 1, 2],
      [2 * 16_384, 2],
      [0, 0],
    ] as const) {
      truncateSync(path(), length);
      file = await begin();
      expect(file.lost).toBe(held - kept);
      held = kept;
      expect(file.usage()).toEqual({ slots: kept, taken: kept });
      for (const [n, { body }] of cells.entries()) expect(await bodyAt(n)).toEqual(n < kept ? body : undefined);
      await file.close();
    }
    file = await begin();
    expect(file.lost).toBe(0);
    const another = cell(9);
    await file.put([another]);
    expect(await bodyAt(9)).toEqual(another.body);
  });

  it.each(['ENOSPC', 'EROFS', 'EIO'] as const)(
    'are not stored when a write fails with %s; later writes succeed',
    async (code) => {
      const { body } = cell(0);
      await file.put([{ ...cell(1), body }]);
      const handle = await openFile(path(), 'r+');
      const methods = Object.getPrototypeOf(handle) as { writev: unknown; datasync: unknown };
      await handle.close();
      for (const method of ['writev', 'datasync'] as const) {
        const original = methods[method];
        methods[method] = () => Promise.reject(Object.assign(new Error(code), { code }));
        try {
          const expected = { ENOSPC: 'E_DISK_FULL', EROFS: 'E_READ_ONLY', EIO: 'E_STORE' }[code];
          await expect(file.put([{ ...cell(2), body }])).rejects.toMatchObject({ code: expected });
          await expect(file.put([cell(1)])).rejects.toMatchObject({ code: expected });
        } finally {
          methods[method] = original;
        }
        expect(await bodyAt(1)).toEqual(body);
        expect(await file.get(key(2))).toBeUndefined();
        expect(file.usage().taken).toBe(1);
      }
      await file.put([{ ...cell(2), body }]);
      expect(await bodyAt(2)).toEqual(body);
    },
  );

  it('free the slots that a crash left in the file but not in the index', async () => {
    await file.put([cell(1)]);
    const before = new MemoryStore();
    for await (const entry of index.range()) await before.put(entry.key, entry.value);
    await file.put([cell(2)]); // the earlier index does not contain it
    const again = await begin(before);
    expect(again.usage()).toEqual({ slots: 2, taken: 1 });
    const another = cell(9);
    await again.put([another]);
    expect(again.usage()).toEqual({ slots: 2, taken: 2 });
    expect((await again.get(key(9)))?.body).toEqual(another.body);
    await again.close();
  });

  it('free the slots of a dropped epoch and of late cells; dropping it again does not scan the index', async () => {
    await file.create(5);
    await file.put(Array.from({ length: 6 }, (_, n) => ({ ...cell(n), epoch: 4 + (n % 2) })));
    await file.drop(4);
    expect(file.usage()).toEqual({ slots: 6, taken: 3 });
    await file.put([cell(0), cell(2)]);
    const [slot = -1] = file.take(1);
    await file.commit({
      placed: [{ index: key(4), epoch: 4, slot, bodyHead: key(0).subarray(0, 2) }],
      cells: [],
      remove: [],
    });
    expect(file.usage()).toEqual({ slots: 6, taken: 3 });
    index.range = () => {
      throw new Error('looked for cells of a dropped epoch');
    };
    await file.drop(4);
  });

  it('are indexed in one write per step; a failed step changes nothing and frees its slots', async () => {
    await file.create(5);
    await file.put([cell(1), cell(2)]);
    const body = systemRandom(BODY);
    const place = async () => {
      const [slot = -1] = file.take(1);
      const handle = await openFile(path(), 'r+');
      await handle.write(body.subarray(2), 0, SLOT, slot * SLOT);
      await handle.close();
      return { index: key(11), epoch: 5, slot, bodyHead: body.subarray(0, 2) };
    };
    const batch = index.batch.bind(index);
    index.batch = () => Promise.reject(new Error('refused'));
    const more = { cells: [{ ...cell(12), epoch: 5 }], remove: [key(1)] };
    await expect(file.commit({ placed: [await place()], ...more })).rejects.toThrow('refused');
    expect(file.usage().taken).toBe(2);
    await expect(file.commit({ placed: [{ ...(await place()), epoch: 6 }], ...more })).rejects.toMatchObject({
      code: 'E_STATE',
    });
    expect(file.usage().taken).toBe(2);
    index.batch = batch;
    await file.commit({ placed: [await place()], ...more });
    expect(file.usage().taken).toBe(3);
    expect(await file.get(key(11))).toEqual({ epoch: 5, body });
    expect(await file.get(key(12))).toMatchObject({ epoch: 5 });
    expect(await file.get(key(1))).toBeUndefined();
    const [placed, none] = await file.entries([key(11), key(1)]);
    expect(placed).toMatchObject({ epoch: 5, length: BODY, bodyHead: body.subarray(0, 2) });
    expect(none).toBeUndefined();
  });
});
