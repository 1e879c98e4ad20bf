import { concatBytes, equalBytes, fromHex, u32be } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import { CONTENT_BYTES, type MaintainMessage, readManifest, segmentHash } from '../src/index.ts';
import { makeUpload, World } from './world.ts';

/** Sweeps once and says how many cells went by mask, and how many by keys. */
async function sweepCounted(world: World): Promise<{ masked: number; items: number }> {
  await world.playbook.beginSweep();
  const seen = { masked: 0, items: 0 };
  let step: MaintainMessage | undefined = await world.playbook.nextMaintenance();
  for (; step !== undefined; step = await world.playbook.nextMaintenance()) {
    seen.masked += step.masked.count;
    seen.items += step.items.count;
    await world.playbook.maintained(await world.cells.maintain(step));
  }
  return seen;
}

describe('the owner’s later choice of the mode', () => {
  it('counts from the next sweep on, the newest wish only, whatever order they come in and over a restart', async () => {
    const world = await World.create({ density: 100 });
    const upload = await makeUpload(3 * CONTENT_BYTES);
    await world.add(upload);
    await world.settle();
    await world.playbook.beginSweep();
    expect(await world.playbook.setMode(upload.designId, 'delta', 1_000)).toBe('delta');
    await world.startKeys();
    expect(await sweepCounted(world)).toEqual({ masked: 0, items: 3 }); // the one that was under way
    expect(await sweepCounted(world)).toEqual({ masked: 3, items: 0 });
    await world.startKeys();
    expect(await sweepCounted(world)).toEqual({ masked: 3, items: 0 });
    for (const issued of [999, 1_000])
      expect(await world.playbook.setMode(upload.designId, 'rekey', issued)).toBe('delta');
    expect(await sweepCounted(world)).toEqual({ masked: 3, items: 0 });
    expect(await world.playbook.setMode(upload.designId, 'rekey', 1_001)).toBe('rekey');
    expect(await sweepCounted(world)).toEqual({ masked: 0, items: 3 });
    await world.assertReadable();
    expect((await world.check()).clean).toBe(true);
  });

  it('is not taken for a design that is not here', async () => {
    const world = await World.create();
    await expect(world.playbook.setMode('00'.repeat(16), 'delta', 1)).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  });

  it('sweeps of a vault without cells have a message, too: the segments node sees every epoch', async () => {
    const world = await World.create();
    for (let to = 2; to < 5; to++) {
      await world.playbook.beginSweep();
      const step = await world.playbook.nextMaintenance();
      expect(step).toMatchObject({ to, number: 1 });
      if (step !== undefined) await world.playbook.maintained(await world.cells.maintain(step));
      expect(await world.playbook.nextMaintenance()).toBeUndefined();
      expect(world.playbook.status().epoch).toBe(to);
    }
  });
});

describe('cells of points', () => {
  it('are for designs of at most 65,480 bytes', async () => {
    const largest = await makeUpload(65_480, undefined, 'key-homomorphic');
    expect(readManifest(largest.manifest)).toMatchObject({ segments: 4, maintenance: 'key-homomorphic' });
    await expect(makeUpload(65_481, undefined, 'key-homomorphic')).rejects.toMatchObject({ code: 'E_TOO_LARGE' });
  });

  it('that are lost, altered or no points are named by a deep check, decoys apart, and can be stored again', async () => {
    const world = await World.create({ density: 50 });
    const upload = await makeUpload(3 * CONTENT_BYTES, undefined, 'key-homomorphic');
    await world.add(upload);
    await world.settle();
    await world.sweep();
    const cells = world.raw.cells;
    const places = await world.playbook.slice(upload.designId, 0, 3);
    const [altered, junk, lost] = places.map(({ index }) => index);
    const all: Uint8Array[] = [];
    for await (const { key } of cells.range()) all.push(key);
    const decoy = all.find((key) => !places.some(({ index }) => equalBytes(index, key)));
    if (!altered || !junk || !lost || !decoy) throw new Error('no cells');
    const other = await cells.get(junk);
    await cells.put(altered, concatBytes(u32be(2), (other ?? new Uint8Array()).subarray(4)));
    await cells.put(junk, concatBytes(u32be(2), new Uint8Array(18_054).fill(255)));
    await cells.delete(lost);
    await cells.delete(decoy);
    const { problems } = await world.check();
    expect(problems).toEqual(
      expect.arrayContaining([
        { kind: 'missing', design: upload.designId, segments: [2] },
        { kind: 'missing', design: undefined, points: true, segments: [expect.any(Number)] },
        { kind: 'damaged', design: upload.designId, segments: [0, 1] },
      ]),
    );
    expect(problems).toHaveLength(3);

    const manifest = readManifest(upload.manifest);
    const source = {
      sealed: (n: number) => upload.sealed[n] ?? new Uint8Array(),
      hash: (n: number) => segmentHash(manifest, n),
    };
    const store = await world.playbook.instruct({ design: fromHex(upload.designId), from: 0, count: 3 });
    if (store === undefined) throw new Error('no instructions');
    const sound = () =>
      Promise.all(
        store.cells.map((cell, i) => world.cells.holds({ ...cell, label: store.labels[i], hash: source.hash(i) })),
      );
    expect(await sound()).toEqual([false, false, undefined]);
    await cells.delete(altered);
    await cells.delete(junk);
    await world.cells.storeCells(store, source);
    expect(await sound()).toEqual([true, true, true]);
    for (let n = 0; n < 3; n++) {
      const again = await world.playbook.decoysAgain(n, 1, true);
      if (again !== undefined) await world.cells.storeCells(again);
    }
    expect((await world.check()).problems).toEqual([]);
    await world.sweep();
    await world.assertReadable();
  });

  it('that are no points any more are damaged for a sweep, too, which goes on', async () => {
    const world = await World.create({ density: 100 });
    const upload = await makeUpload(2 * CONTENT_BYTES, undefined, 'key-homomorphic');
    await world.add(upload);
    await world.settle();
    const [cell] = await world.playbook.slice(upload.designId, 0, 1);
    if (cell === undefined) throw new Error('no cell');
    await world.raw.cells.put(cell.index, concatBytes(u32be(1), new Uint8Array(18_054).fill(255)));
    await world.sweep();
    expect(world.problems).toEqual([{ design: upload.designId, segment: 0 }]);
    expect(world.playbook.status().epoch).toBe(2);
  });
});
