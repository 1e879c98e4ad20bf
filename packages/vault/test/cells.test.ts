import { createHash } from 'node:crypto';
import { type Bytes, systemRandom } from '@millrace/base';
import { MemoryCells } from '@millrace/stores';
import { overwriteCell } from '@millrace/testkit/vault/cells';
import { beforeEach, describe, expect, it } from 'vitest';
import {
  applyOuterLayer,
  CellStore,
  InProcessEngine,
  MAINTAIN,
  MAY_BE_ABSENT,
  type MaintainMessage,
  Packed,
  SEGMENT_BYTES,
  type StoreMessage,
} from '../src/index.ts';
import type { RecordOf } from '../src/packed.ts';

const sealed = Array.from({ length: 3 }, () => systemRandom(SEGMENT_BYTES));
const source = {
  sealed: (n: number): Bytes => sealed[n] ?? new Uint8Array(),
  hash: (n: number): Bytes =>
    new Uint8Array(
      createHash('sha256')
        .update(sealed[n] ?? '')
        .digest(),
    ),
};
const design = systemRandom(16);
const cell = () => ({ index: systemRandom(20), key: systemRandom(32), epoch: 4 });

type MovedCell = RecordOf<typeof MAINTAIN.items>;

let raw: MemoryCells;
let cells: CellStore;
let stored: StoreMessage;
beforeEach(async () => {
  raw = new MemoryCells();
  cells = new CellStore(new InProcessEngine(raw));
  stored = {
    type: 'store',
    design,
    generation: 9,
    from: 0,
    decoys: false,
    cells: [cell(), cell(), cell()],
    seeds: [],
    labels: [],
  };
  await cells.storeCells(stored, source);
});

function move(which: number, flags = 0): MovedCell {
  const old = stored.cells[which] ?? cell();
  return { oldIndex: old.index, oldKey: old.key, newIndex: systemRandom(20), newKey: systemRandom(32), flags };
}
const maintain = (items: MovedCell[], forget: Bytes[] = []): MaintainMessage => ({
  type: 'maintain',
  to: 5,
  lane: 0,
  number: 1,
  fence: 0,
  items: Packed.of(MAINTAIN.items, items),
  masked: Packed.of(MAINTAIN.masked, []),
  points: Packed.of(MAINTAIN.points, []),
  forget: Packed.of(
    MAINTAIN.forget,
    forget.map((index) => ({ index })),
  ),
});

describe('the segments node’s cells', () => {
  it('are stored under their outer layer, with the epoch and nothing else', async () => {
    for (const [n, { index, key }] of stored.cells.entries()) {
      const body = await cells.read(index);
      expect(body).not.toEqual(sealed[n]);
      expect(applyOuterLayer(key, body)).toEqual(sealed[n]);
      expect((await raw.get(index))?.epoch).toBe(4);
      expect((await raw.get(index))?.body.length).toBe(SEGMENT_BYTES);
    }
  });

  it('reject a sealed segment that does not match the manifest, and store none of the message', async () => {
    const other = new CellStore(new InProcessEngine(new MemoryCells()));
    const wrong = { ...source, sealed: (n: number) => (n === 2 ? systemRandom(SEGMENT_BYTES) : source.sealed(n)) };
    await expect(other.storeCells(stored, wrong)).rejects.toMatchObject({ code: 'E_SEGMENT', data: { segment: 2 } });
    for (const { index } of stored.cells)
      await expect(other.read(index)).rejects.toMatchObject({ code: 'E_CELL_MISSING' });
    const short = { ...source, sealed: () => new Uint8Array(5) };
    await expect(other.storeCells(stored, short)).rejects.toMatchObject({ code: 'E_SEGMENT' });
    await expect(other.storeCells(stored)).rejects.toMatchObject({ code: 'E_UPLOAD' });
  });

  it('are left unchanged when they are stored again, without requesting the segments', async () => {
    const never = { ...source, sealed: () => Promise.reject(new Error('asked')) };
    expect(await cells.storeCells(stored, never)).toEqual({ type: 'stored', design, generation: 9, from: 0, count: 3 });
    expect(applyOuterLayer(stored.cells[0]?.key ?? design, await cells.read(stored.cells[0]?.index ?? design))).toEqual(
      sealed[0],
    );
  });

  it('have deterministic decoys', async () => {
    const message: StoreMessage = { ...stored, decoys: true, cells: [cell()], seeds: [systemRandom(32)] };
    const [a, b] = [new MemoryCells(), new MemoryCells()];
    await new CellStore(new InProcessEngine(a)).storeCells(message);
    await new CellStore(new InProcessEngine(b)).storeCells(message);
    const at = message.cells[0]?.index ?? design;
    expect(await a.get(at)).toEqual(await b.get(at));
    expect((await a.get(at))?.body.length).toBe(SEGMENT_BYTES);
  });

  it('move to the next epoch once, whatever is repeated, in any state', async () => {
    const item = move(0);
    const first = maintain([item]);
    const second = maintain([], [item.oldIndex]);
    for (const message of [first, first, second, first, second, second]) {
      expect(await cells.maintain(message)).toMatchObject({ missing: [], damaged: [] });
      expect(applyOuterLayer(item.newKey, await cells.read(item.newIndex))).toEqual(sealed[0]);
      expect((await raw.get(item.newIndex))?.epoch).toBe(5);
    }
    await expect(cells.read(item.oldIndex)).rejects.toMatchObject({ code: 'E_CELL_MISSING' });
  });

  it('are reported when missing, unless they may be absent; the others are moved', async () => {
    const [good, lost, optional] = [move(0), move(9), move(9, MAY_BE_ABSENT)];
    const reply = await cells.maintain(maintain([lost, optional, good]));
    expect(reply).toEqual({
      type: 'maintained',
      to: 5,
      lane: 0,
      number: 1,
      fence: 0,
      staged: 1,
      absent: 1,
      missing: [lost.newIndex],
      damaged: [],
      work: expect.any(Number),
    });
    expect(applyOuterLayer(good.newKey, await cells.read(good.newIndex))).toEqual(sealed[0]);
  });

  it('are reported as damaged when of another epoch or length, and get no outer layer', async () => {
    const [cut, foreign] = [move(0), move(1)];
    const bodyAt = async (index: Uint8Array) => (await raw.get(index))?.body ?? design;
    await overwriteCell(raw, { index: cut.oldIndex, epoch: 4, body: (await bodyAt(cut.oldIndex)).subarray(0, 96) });
    await overwriteCell(raw, { index: foreign.oldIndex, epoch: 3, body: await bodyAt(foreign.oldIndex) });
    expect(await cells.maintain(maintain([cut, foreign]))).toMatchObject({ damaged: [cut.newIndex, foreign.newIndex] });
    expect(await raw.get(foreign.newIndex)).toBeUndefined();
    await expect(cells.read(cut.oldIndex)).rejects.toMatchObject({ code: 'E_CELL_DAMAGED' });
  });

  it('of epochs before the previous one are dropped, whatever put them there; those of a step never', async () => {
    const [left, late] = [systemRandom(20), systemRandom(20)];
    for (const index of [left, late]) await overwriteCell(raw, { index, epoch: 3, body: systemRandom(SEGMENT_BYTES) });
    const items = stored.cells.map((_, n) => move(n));
    await cells.maintain(maintain(items.slice(0, 1)));
    for (const index of [left, late]) expect(await raw.get(index)).toBeUndefined();
    for (const { index } of stored.cells) expect((await raw.get(index))?.epoch).toBe(4);
    // A repeated message of a dropped epoch leaves nothing behind.
    const again = { ...stored, cells: stored.cells.map((one) => ({ ...one, index: systemRandom(20), epoch: 3 })) };
    expect(await cells.storeCells(again, source)).toMatchObject({ count: 3 });
    for (const { index } of again.cells) expect(await raw.get(index)).toBeUndefined();
    expect((await raw.get(items[0]?.newIndex ?? design))?.epoch).toBe(5);
  });

  it('replace data of another epoch at their new place', async () => {
    const item = move(2);
    await overwriteCell(raw, { index: item.newIndex, epoch: 7, body: systemRandom(30) });
    expect(await cells.maintain(maintain([item]))).toMatchObject({ missing: [], damaged: [] });
    expect(applyOuterLayer(item.newKey, await cells.read(item.newIndex))).toEqual(sealed[2]);
  });

  it('of a step are moved many at a time; a step that fails leaves nothing under way', async () => {
    const items = Array.from({ length: 500 }, () => move(0));
    const get = raw.get.bind(raw);
    let [running, most, calls] = [0, 0, 0];
    raw.get = async (index) => {
      const call = ++calls;
      most = Math.max(most, ++running);
      // The fourth of the first chunks: one call fails at once, the others take long.
      const delay = call <= 96 || call > 128 ? 1 : call === 100 ? 0 : 50;
      await new Promise((resolve) => setTimeout(resolve, delay));
      running--;
      if (call === 100) throw new Error('the store is gone');
      return get(index);
    };
    await expect(cells.maintain(maintain(items))).rejects.toThrow('the store is gone');
    expect(running).toBe(0);
    expect(most).toBeGreaterThan(32);
    expect(calls).toBeLessThan(300);
    const before = calls;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(calls).toBe(before);
    raw.get = get;
    expect(await cells.maintain(maintain(items))).toMatchObject({ staged: 500, missing: [], damaged: [] });
  });

  it('that are damaged decoys are made again by the same message; sound ones are not written', async () => {
    const message: StoreMessage = { ...stored, decoys: true, cells: [cell()], seeds: [systemRandom(32)] };
    await cells.storeCells(message);
    const at = message.cells[0]?.index ?? design;
    const before = await cells.read(at);
    await overwriteCell(raw, { index: at, epoch: 4, body: before.map((byte, i) => (i === 9 ? byte ^ 1 : byte)) });
    await cells.storeCells(message);
    expect(await cells.read(at)).toEqual(before);
    raw.put = () => Promise.reject(new Error('written again'));
    await expect(cells.storeCells({ ...message, cells: [cell()] })).rejects.toThrow('written again');
    raw.put = async (written) => expect(written).toEqual([]);
    await cells.storeCells(message);
  });
});
