import assert from 'node:assert/strict';
import { type Bytes, toHex } from '@millrace/base';
import type { Cell, CellHead, Cells, IndexRange, NewCell } from '../cells.ts';
import type { Case } from './cases.ts';

export interface CellsHarness {
  readonly cells: Cells;
  /** Closes the store and reopens it over the same data. */
  reopen(): Promise<Cells>;
  dispose(): Promise<void>;
}

export type OpenCells = () => Promise<CellsHarness>;

function cellsCase(name: string, check: (cells: Cells, harness: CellsHarness) => Promise<void>): Case<OpenCells> {
  return {
    name,
    async run(open) {
      const harness = await open();
      try {
        await check(harness.cells, harness);
      } finally {
        await harness.dispose();
      }
    },
  };
}

/** Lengths of bodies: those of real cells, and others that damage or a test may cause. */
const LENGTHS = [16_386, 18_054, 16_384, 16_383, 16_444, 16_445, 7, 1, 0];

/** An index. `n` gives the order; neighbours differ in their first byte or in their last. */
const at = (n: number): Bytes => Uint8Array.from({ length: 20 }, (_, i) => (i === 0 ? n >> 8 : i === 19 ? n & 255 : 9));

/** Deterministic: the same numbers give the same bytes. */
function bodyOf(n: number, length = 16_386): Bytes {
  const body = new Uint8Array(length);
  for (let i = 0; i < length; i++) body[i] = (i * 31 + n * 7 + (i >> 8)) & 255;
  return body;
}

const cell = (n: number, epoch: number, length?: number): NewCell => ({ index: at(n), epoch, body: bodyOf(n, length) });

function coded(code: string): (error: unknown) => boolean {
  return (error) => error instanceof Error && 'code' in error && error.code === code;
}

/** Compares the whole body at once, because a comparison byte by byte is slow. */
function assertCell(found: Cell | undefined, { epoch, body }: NewCell): void {
  assert.equal(found?.epoch, epoch);
  assert.equal(Buffer.compare(found.body, body), 0);
}

async function outlineOf(cells: Cells, range?: IndexRange): Promise<CellHead[]> {
  const heads: CellHead[] = [];
  for await (const head of cells.outline(range)) heads.push(head);
  return heads;
}

async function namesOf(cells: Cells, range?: IndexRange): Promise<string[]> {
  return (await outlineOf(cells, range)).map(({ index }) => toHex(index));
}

const names = (...numbers: number[]): string[] => numbers.map((n) => toHex(at(n)));

/** Test cases of every cell store. */
export const cellsCases: readonly Case<OpenCells>[] = [
  cellsCase('gives back what was put, of any length, and undefined for what was not', async (cells, harness) => {
    await cells.create(7);
    const written = LENGTHS.map((length, n) => cell(n, 7, length));
    await cells.put(written);
    await cells.put([]);
    for (let round = 0, now = cells; round < 2; round++, now = await harness.reopen()) {
      for (const one of written) assertCell(await now.get(one.index), one);
      assert.equal(await now.get(at(99)), undefined);
      const heads = await now.heads([at(99), ...written.map(({ index }) => index)]);
      assert.deepEqual(heads, [
        undefined,
        ...written.map(({ index, epoch, body }) => ({ index, epoch, length: body.length })),
      ]);
      assert.deepEqual(await now.heads([]), []);
    }
  }),
  cellsCase('changes nothing when a cell is put again, and takes other bytes after it was removed', async (cells) => {
    await cells.create(1);
    await cells.put([cell(1, 1), cell(2, 1)]);
    await cells.put([cell(2, 1), cell(1, 1), cell(1, 1)]);
    assertCell(await cells.get(at(1)), cell(1, 1));
    assert.deepEqual(await namesOf(cells), names(1, 2));
    await cells.remove([at(1)]);
    assert.equal(await cells.get(at(1)), undefined);
    const other = { index: at(1), epoch: 1, body: bodyOf(77) };
    await cells.put([other]);
    assertCell(await cells.get(at(1)), other);
    assertCell(await cells.get(at(2)), cell(2, 1));
  }),
  cellsCase('removes cells of any epoch, and is content where there is none', async (cells, harness) => {
    for (const epoch of [3, 4]) await cells.create(epoch);
    await cells.put([cell(1, 3), cell(2, 4), cell(3, 4, 7)]);
    await cells.remove([at(1), at(50), at(3), at(1)]);
    await cells.remove([]);
    assert.deepEqual(await namesOf(cells), names(2));
    assert.deepEqual(await namesOf(await harness.reopen()), names(2));
  }),
  cellsCase('finds and removes cells of the epoch that the caller names', async (cells) => {
    for (const epoch of [3, 4]) await cells.create(epoch);
    await cells.put([cell(1, 3), cell(2, 4), cell(3, 4, 7)]);
    assertCell(await cells.get(at(1), 3), cell(1, 3));
    assertCell(await cells.get(at(2), 4), cell(2, 4));
    assert.equal(await cells.get(at(50), 4), undefined);
    assert.equal(await cells.get(at(50), 5), undefined);
    assert.deepEqual(await cells.heads([at(3), at(51), at(2)], 4), [
      { index: at(3), epoch: 4, length: 7 },
      undefined,
      { index: at(2), epoch: 4, length: 16_386 },
    ]);
    await cells.remove([at(2), at(51)], 4);
    await cells.remove([at(51)], 5);
    assert.deepEqual(await namesOf(cells), names(1, 3));
  }),
  cellsCase(
    'outlines a range in the order of indexes, above its lower bound and up to its upper one',
    async (cells) => {
      for (const epoch of [1, 2]) await cells.create(epoch);
      const numbers = Array.from({ length: 300 }, (_, n) => n);
      await cells.put(numbers.map((n) => cell((n * 7) % 300, 1 + (n % 2), n % 5)));
      assert.deepEqual(await namesOf(cells), names(...numbers));
      assert.deepEqual(await namesOf(cells, { after: at(10), upto: at(13) }), names(11, 12, 13));
      assert.deepEqual(await namesOf(cells, { after: at(297) }), names(298, 299));
      assert.deepEqual(await namesOf(cells, { upto: at(1) }), names(0, 1));
      assert.deepEqual(await namesOf(cells, { after: at(299), upto: at(400) }), []);
      assert.deepEqual(await namesOf(cells, { after: at(20), upto: at(20) }), []);
      const [head] = await outlineOf(cells, { after: at(6), upto: at(7) });
      assert.deepEqual(head, { index: at(7), epoch: 2, length: 1 });
    },
  ),
  cellsCase('outlines, while cells come and go, each cell that stays once', async (cells) => {
    await cells.create(1);
    await cells.put(Array.from({ length: 200 }, (_, n) => cell(2 * n, 1, 5)));
    const seen: string[] = [];
    for await (const { index } of cells.outline()) {
      seen.push(toHex(index));
      const n = seen.length;
      if (n % 10 === 0) await cells.put([cell(2 * n + 1, 1, 5)]);
      if (n % 10 === 5) await cells.remove([at(400 + n)]);
    }
    const even = seen.filter((name) => Number.parseInt(name.slice(-2), 16) % 2 === 0);
    assert.deepEqual(even, names(...Array.from({ length: 200 }, (_, n) => 2 * n)));
    assert.equal(new Set(seen).size, seen.length);
  }),
  cellsCase('takes cells of epochs that were created only, and then none of the call', async (cells) => {
    await cells.create(5);
    await assert.rejects(cells.put([cell(1, 5), cell(2, 6)]), coded('E_STATE'));
    assert.deepEqual(await namesOf(cells), []);
    await cells.create(6);
    await cells.create(6);
    await cells.put([cell(1, 5), cell(2, 6)]);
    await cells.create(5);
    assert.deepEqual(await namesOf(cells), names(1, 2));
  }),
  cellsCase('drops an epoch with every earlier one, and nothing else', async (cells, harness) => {
    for (const epoch of [2, 3, 4, 5]) await cells.create(epoch);
    const many = Array.from({ length: 600 }, (_, n) => cell(n, 2 + (n % 4), n % 40 === 0 ? 16_386 : 9));
    await cells.put(many);
    await cells.drop(3);
    const left = many.filter(({ epoch }) => epoch > 3);
    const expected = left.map(({ index }) => toHex(index));
    assert.deepEqual(await namesOf(cells), expected);
    await cells.drop(3);
    await cells.drop(1);
    assert.deepEqual(await namesOf(cells), expected);
    for (const one of left.slice(0, 50)) assertCell(await cells.get(one.index), one);
    const again = await harness.reopen();
    assert.deepEqual(await namesOf(again), expected);
    await again.drop(4); // epoch 4 was created before the store was reopened
    assert.deepEqual(
      (await outlineOf(again)).map(({ epoch }) => epoch),
      left.filter(({ epoch }) => epoch === 5).map(() => 5),
    );
  }),
  cellsCase('keeps nothing that a late writer puts into a dropped epoch', async (cells, harness) => {
    for (const epoch of [8, 9]) await cells.create(epoch);
    await cells.put([cell(1, 8), cell(2, 9)]);
    await cells.drop(8);
    await cells.put([cell(1, 8), cell(3, 9), cell(4, 7, 5)]);
    await cells.create(8);
    await cells.put([cell(1, 8)]);
    assert.deepEqual(await namesOf(cells), names(2, 3));
    const again = await harness.reopen();
    await again.create(8);
    await again.put([cell(1, 8), cell(5, 8, 3)]);
    await again.drop(8);
    assert.deepEqual(await namesOf(again), names(2, 3));
    assertCell(await again.get(at(3)), cell(3, 9));
  }),
  cellsCase(
    'takes a sweep: the next epoch is filled, the old places are left, repeated or not',
    async (cells, harness) => {
      const old = Array.from({ length: 12 }, (_, n) => cell(100 + n, 1));
      await cells.create(1);
      await cells.put(old);
      let now = cells;
      for (let epoch = 2; epoch < 5; epoch++) {
        const before = (n: number) => 100 * (epoch - 1) + n;
        for (let from = 0; from < 12; from += 4) {
          // Repeat each step, as a node does after a restart in the middle.
          for (let repeat = 0; repeat < 2; repeat++) {
            await now.create(epoch);
            const moved = [];
            for (let n = from; n < from + 4; n++) {
              const [staged] = await now.heads([at(100 * epoch + n)]);
              if (staged?.epoch === epoch) continue;
              const body = (await now.get(at(before(n))))?.body ?? assert.fail('a cell is lost');
              moved.push({ index: at(100 * epoch + n), epoch, body: body.map((byte) => byte ^ 5) });
            }
            await now.put(repeat === 0 ? moved.slice(0, 2) : moved);
            if (epoch === 3 && from === 4) now = await harness.reopen();
          }
          await now.remove(Array.from({ length: 4 }, (_, i) => at(before(from + i))));
        }
        await now.drop(epoch - 1);
        for (const [n, { body }] of old.entries()) {
          const moved = body.map((byte) => (epoch % 2 === 0 ? byte ^ 5 : byte));
          assertCell(await now.get(at(100 * epoch + n)), { index: at(0), epoch, body: moved });
        }
        assert.equal((await outlineOf(now)).length, 12);
      }
    },
  ),
  cellsCase('never mixes two cells while slots are reused beside reads', async (cells) => {
    await cells.create(1);
    await cells.put(Array.from({ length: 8 }, (_, n) => cell(n, 1)));
    let writing = true;
    const writer = async () => {
      for (let round = 0; round < 30; round++) {
        const n = round % 8;
        await cells.remove([at(n)]);
        await cells.put([cell(8 + ((n + 3) % 8), 1)]);
        await cells.remove([at(8 + ((n + 3) % 8))]);
        await cells.put([cell(n, 1)]);
      }
      writing = false;
    };
    const reader = async () => {
      for (let n = 0; writing; n = (n + 1) % 16) {
        const found = await cells.get(at(n));
        if (found !== undefined) assertCell(found, cell(n, 1));
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await Promise.all([writer(), reader(), reader()]);
    for (let n = 0; n < 8; n++) assertCell(await cells.get(at(n)), cell(n, 1));
  }),
  cellsCase('shares no bytes with its caller', async (cells) => {
    await cells.create(1);
    const mine = { index: at(1), epoch: 1, body: bodyOf(1) };
    const short = { index: at(2), epoch: 1, body: bodyOf(2, 7) };
    await cells.put([mine, short]);
    for (const bytes of [mine.index, mine.body, short.index, short.body]) bytes.fill(0);
    for (const one of [cell(1, 1), cell(2, 1, 7)]) {
      const found = await cells.get(one.index);
      assertCell(found, one);
      found?.body.fill(0);
      const [head] = await cells.heads([one.index]);
      head?.index.fill(0);
      assertCell(await cells.get(one.index), one);
    }
  }),
  cellsCase('refuses wrong indexes and epochs, and work once closed', async (cells) => {
    await cells.create(1);
    for (const wrong of [new Uint8Array(), new Uint8Array(65)]) {
      await assert.rejects(cells.put([cell(1, 1), { index: wrong, epoch: 1, body: bodyOf(1) }]), coded('E_INPUT'));
      await assert.rejects(cells.get(wrong), coded('E_INPUT'));
      await assert.rejects(cells.heads([at(1), wrong]), coded('E_INPUT'));
      await assert.rejects(cells.remove([wrong]), coded('E_INPUT'));
      await assert.rejects(outlineOf(cells, { after: wrong }), coded('E_INPUT'));
    }
    for (const wrong of [-1, 0.5, 2 ** 32]) {
      await assert.rejects(cells.put([cell(1, wrong)]), coded('E_INPUT'));
      await assert.rejects(cells.create(wrong), coded('E_INPUT'));
      await assert.rejects(cells.drop(wrong), coded('E_INPUT'));
    }
    assert.deepEqual(await namesOf(cells), []);
    await cells.close();
    await assert.rejects(cells.create(2), coded('E_STORE'));
    await assert.rejects(cells.put([cell(1, 1)]), coded('E_STORE'));
    await assert.rejects(cells.get(at(1)), coded('E_STORE'));
    await assert.rejects(cells.heads([at(1)]), coded('E_STORE'));
    await assert.rejects(outlineOf(cells), coded('E_STORE'));
    await assert.rejects(cells.remove([at(1)]), coded('E_STORE'));
    await assert.rejects(cells.drop(1), coded('E_STORE'));
  }),
];
