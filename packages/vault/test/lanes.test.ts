import { type Bytes, compareBytes, systemRandom, toHex } from '@millrace/base';
import { MemoryCells } from '@millrace/stores';
import { allCells } from '@millrace/testkit/vault/cells';
import { makeUpload, VaultFixture } from '@millrace/testkit/vault/vault-fixture';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CellStore,
  CONTENT_BYTES,
  InProcessEngine,
  LANES,
  lanesFor,
  type MaintainMessage,
  readManifest,
  segmentHash,
} from '../src/index.ts';
import { isEnded, laneEnd, laneOf, laneStart, newSweep } from '../src/lanes.ts';
import { END, START } from '../src/plan.ts';

const SEGMENTS = 40;

/** A vault with one design, whose sweep in several lanes has begun. */
async function begun(lanes = 4): Promise<{ fixture: VaultFixture; design: string }> {
  const fixture = await VaultFixture.create({ density: 50, lanes });
  const upload = await makeUpload(SEGMENTS * CONTENT_BYTES);
  await fixture.add(upload);
  await fixture.settle();
  await fixture.beginSweep();
  return { fixture, design: upload.designId };
}

async function next(fixture: VaultFixture, lane: number, limit = 4, given = false): Promise<MaintainMessage> {
  const message = await fixture.playbook.nextMaintenance(limit, lane, { given });
  if (message === undefined) throw new Error(`lane ${lane} has no message`);
  return message;
}

const planned = ({ items, masked, points }: MaintainMessage) => items.count + masked.count + points.count;

describe('lanes', () => {
  it('divide all indexes in order', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 2, 4, 64, 256),
        fc.uint8Array({ minLength: 20, maxLength: 20 }),
        (lanes, index) => {
          const lane = laneOf(index, lanes);
          if (compareBytes(index, START) === 0) return;
          expect(compareBytes(index, laneStart(lane, lanes))).toBe(1);
          expect(compareBytes(index, laneEnd(lane, lanes))).not.toBe(1);
        },
      ),
    );
    for (const lanes of [1, 2, LANES]) {
      expect(laneStart(0, lanes)).toEqual(START);
      expect(laneEnd(lanes - 1, lanes)).toEqual(END);
      const sweep = newSweep(2, lanes);
      expect(sweep.lanes.map((_, at) => isEnded(sweep, at))).toEqual(Array(lanes).fill(false));
    }
  });

  it('are as many as are worth their messages', () => {
    expect([1, 100, 256, 257, 512, 4_097, 1e9].map((cells) => lanesFor(cells, 1))).toEqual([2, 2, 4, 8, 8, 64, 64]);
    expect([0, 1, 2, 3, 40].map((nodes) => lanesFor(10, nodes))).toEqual([2, 2, 4, 8, 64]);
  });

  it('are swept in any order, and the epoch is committed only when all have ended', async () => {
    const { fixture, design } = await begun();
    const order = [2, 0, 3, 1];
    for (const [i, lane] of order.entries()) {
      expect(fixture.playbook.status()).toMatchObject({ epoch: 1, sweep: { lanes: [...order.slice(i)].sort() } });
      for (;;) {
        const message = await fixture.playbook.nextMaintenance(4, lane);
        if (message === undefined) break;
        for (let n = 0; n < message.items.count; n++) expect(laneOf(message.items.view(n, 'newIndex'), 4)).toBe(lane);
        await fixture.playbook.maintained(await fixture.cells.maintain(message));
        await fixture.assertReadable();
        if (fixture.playbook.status().sweep?.lanes.includes(lane) !== true) break;
      }
    }
    await fixture.settle();
    expect(fixture.playbook.status()).toMatchObject({ epoch: 2, sweep: undefined });
    expect(fixture.playbook.design(design).complete).toBe(true);
    expect((await fixture.check()).problems).toEqual([]);
    expect(await fixture.countCells()).toBe(2 * SEGMENTS);
  });

  it('leave the cells where a stream may still read them, until the next sweep', async () => {
    const { fixture, design } = await begun();
    const before = await fixture.playbook.slice(design, 0, SEGMENTS);
    await fixture.settle();
    expect(fixture.playbook.status().epoch).toBe(2);
    for (const { index } of before) await fixture.cells.read(index);
    expect((await fixture.check()).problems).toEqual([]); // leftovers of the former epoch are no finding
    await fixture.sweep();
    for (const { index } of before)
      await expect(fixture.cells.read(index)).rejects.toMatchObject({ code: 'E_CELL_MISSING' });
    await fixture.assertReadable();
  });

  it('continue at every lane after the keys node was killed', async () => {
    const { fixture } = await begun();
    const pending = await Promise.all([next(fixture, 0), next(fixture, 3)]);
    for (const message of pending) await fixture.cells.maintain(message);
    await fixture.startKeys();
    for (const { lane, number, fence } of pending)
      expect(await next(fixture, lane, 9)).toMatchObject({ lane, number, fence });
    await fixture.settle();
    await fixture.assertReadable();
    expect(fixture.problems).toEqual([]);
  });
});

describe('a lane that is given to another node', () => {
  it('takes only answers of that node', async () => {
    const { fixture } = await begun();
    const first = await next(fixture, 1);
    const late = await fixture.cells.maintain(first);
    const again = await next(fixture, 1, 4, true);
    expect(again).toMatchObject({ number: first.number, fence: first.fence + 1 });
    expect(planned(again)).toBe(planned(first));
    expect(await fixture.playbook.maintained(late)).toBeUndefined();
    expect(await fixture.playbook.maintained(await fixture.cells.maintain(again))).toMatchObject({ missing: [] });
    expect(await fixture.playbook.maintained(late)).toBeUndefined();
    await fixture.settle();
    await fixture.assertReadable();
  });

  it('remembers that after a restart of the keys node', async () => {
    const { fixture } = await begun();
    const late = await fixture.cells.maintain(await next(fixture, 1));
    await next(fixture, 1, 4, true);
    await fixture.startKeys();
    expect(await fixture.playbook.maintained(late)).toBeUndefined();
    await fixture.settle();
    await fixture.assertReadable();
  });

  it('is not changed by a node that wakes up in a later step or in the next epoch', async () => {
    const { fixture } = await begun();
    const bodies = async (): Promise<Map<string, string>> => {
      const { epoch } = fixture.playbook.status();
      const cells = (await allCells(fixture.raw.cells)).filter((cell) => cell.epoch >= epoch);
      return new Map(cells.map(({ index, body }) => [toHex(index), toHex(body)]));
    };
    // The frozen node has read its cells and is about to write: it holds what it read in a store of its own.
    const first = await next(fixture, 1);
    const frozen = new MemoryCells();
    for (const epoch of [1, 2]) await frozen.create(epoch);
    await frozen.put(await allCells(fixture.raw.cells));
    const handedOver = await next(fixture, 1, 4, true);
    await fixture.playbook.maintained(await fixture.cells.maintain(handedOver));
    const awake = new CellStore(new InProcessEngine(frozen));
    await awake.maintain(first);
    const written = (await allCells(frozen)).filter(({ epoch }) => epoch === 2);
    expect(written).toHaveLength(planned(first));
    const writes = async () => {
      const before = await bodies();
      await fixture.raw.cells.put(written);
      expect(await bodies()).toEqual(before);
    };
    await writes();
    await fixture.settle();
    await writes();
    await fixture.sweep();
    await writes();
    await fixture.assertReadable();
  });
});

describe('an answer', () => {
  it('that does not account for every cell of its step has no effect, and the step is repeated', async () => {
    const { fixture } = await begun();
    const message = await next(fixture, 1);
    const count = planned(message);
    const answer = await fixture.cells.maintain(message);
    expect(answer).toMatchObject({ staged: count, absent: 0 });
    for (const wrong of [{ staged: count - 1 }, { absent: 1 }, { missing: [systemRandom(20)] }])
      expect(await fixture.playbook.maintained({ ...answer, ...wrong })).toBeUndefined();
    expect(await next(fixture, 1)).toMatchObject({ number: message.number });
    expect(await fixture.playbook.maintained(answer)).toMatchObject({ ended: false });
  });

  it('names what is missing, and counts what is there', async () => {
    const { fixture } = await begun();
    const message = await next(fixture, 2);
    const lost: Bytes = message.items.view(0, 'oldIndex').slice();
    await fixture.raw.cells.remove([lost]);
    const answer = await fixture.cells.maintain(message);
    expect(answer).toMatchObject({ staged: planned(message) - 1, absent: 0, damaged: [] });
    expect((await fixture.playbook.maintained(answer))?.missing).toHaveLength(1);
  });
});

describe('storing by several nodes', () => {
  const stored = { shared: true };

  /** A second design, whose places were given but whose cells are not stored yet. */
  async function givenPlaces() {
    const { fixture } = await begun();
    const { designId, manifest, ceks, sealed } = await makeUpload(6 * CONTENT_BYTES);
    await fixture.playbook.addDesign({ manifest, keys: ceks });
    const design = Buffer.from(designId, 'hex');
    const ask = async () => {
      const message = await fixture.playbook.instruct({ design, from: 0, count: 6 });
      if (message === undefined) throw new Error('no places');
      return message;
    };
    const hashes = readManifest(manifest);
    const source = {
      sealed: (n: number) => sealed[n] ?? new Uint8Array(),
      hash: (n: number) => segmentHash(hashes, n),
    };
    return { fixture, designId, ask, source, first: await ask() };
  }

  it('counts only if no step has overtaken it; stored again, it counts', async () => {
    const { fixture, designId, ask, source, first } = await givenPlaces();
    for (const lane of [0, 1, 2, 3])
      while (fixture.playbook.status().sweep?.lanes.includes(lane)) {
        const message = await fixture.playbook.nextMaintenance(9, lane);
        if (message !== undefined) await fixture.playbook.maintained(await fixture.cells.maintain(message));
      }
    expect(fixture.playbook.status()).toMatchObject({ epoch: 2, sweep: undefined }); // none of these cells was found
    const late = await fixture.cells.storeCells(first, source);
    expect(await fixture.playbook.stored(late, stored)).toBeUndefined();
    expect(fixture.playbook.design(designId).stored).toBe(0);
    const again = await fixture.cells.storeCells(await ask(), source);
    expect(await fixture.playbook.stored(again, stored)).toMatchObject({ complete: true });
    expect((await fixture.check()).problems).toEqual([]);
    await fixture.sweep();
    expect((await fixture.check()).problems).toEqual([]);
    expect(fixture.problems).toEqual([]);
  });

  it('counts in the middle of a sweep, in either epoch', async () => {
    const { fixture, designId, source, first } = await givenPlaces();
    expect(await fixture.playbook.stored(await fixture.cells.storeCells(first, source), stored)).toMatchObject({
      complete: true,
    });
    await fixture.settle();
    expect(fixture.playbook.design(designId).complete).toBe(true);
    expect((await fixture.check()).problems).toEqual([]);
  });

  it('counts only if the node that was told to store reports it', async () => {
    const { fixture, designId } = await givenPlaces();
    const want = { design: Buffer.from(designId, 'hex'), from: 0, count: 6 };
    const told = await fixture.playbook.instruct(want, 'segments-1');
    if (told === undefined) throw new Error('no places');
    const { design, generation, from } = told;
    const report = { type: 'stored' as const, design, generation, from, count: 6 };
    expect(await fixture.playbook.stored(report, { ...stored, node: 'segments-2' })).toBeUndefined();
    expect(await fixture.playbook.stored(report, { ...stored, node: 'segments-1' })).toMatchObject({ complete: true });
  });

  it('does not count if the keys node was killed in between', async () => {
    const { fixture, source, first } = await givenPlaces();
    const answer = await fixture.cells.storeCells(first, source);
    await fixture.startKeys();
    expect(await fixture.playbook.stored(answer, stored)).toBeUndefined();
    expect(await fixture.playbook.stored(answer)).toMatchObject({ complete: true }); // a single node keeps the order
  });
});
