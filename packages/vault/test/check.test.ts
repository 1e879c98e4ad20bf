import { systemRandom, toHex } from '@millrace/base';
import { beforeEach, describe, expect, it } from 'vitest';
import { CONTENT_BYTES } from '../src/index.ts';
import { contentKeysKey, manifestKey } from '../src/records.ts';
import { makeUpload, type Upload, World } from './world.ts';

let world: World;
let upload: Upload;
beforeEach(async () => {
  world = await World.create({ density: 50, batch: 3 });
  upload = await makeUpload(4 * CONTENT_BYTES);
  await world.add(upload);
  await world.settle();
  await world.sweep();
});

async function indexOf(segment: number): Promise<Uint8Array> {
  const [cell] = await world.playbook.slice(upload.designId, segment, segment + 1);
  return cell?.index ?? new Uint8Array();
}

async function flip(index: Uint8Array, at: number): Promise<void> {
  const value = (await world.raw.cells.get(index)) ?? new Uint8Array();
  value[at] = (value[at] ?? 0) ^ 1;
  await world.raw.cells.put(index, value);
}

describe('a check', () => {
  it('finds a sound vault clean, deep or not', async () => {
    for (const deep of [true, false]) {
      expect(await world.check(deep)).toEqual({ clean: true, deep, epoch: 2, designs: 1, cells: 8, problems: [] });
    }
  });

  it('names missing, damaged and extra cells by design and segment', async () => {
    const [second, third, first] = [await indexOf(2), await indexOf(3), await indexOf(1)];
    await world.raw.cells.delete(second);
    await world.raw.cells.put(third, new Uint8Array(7));
    await flip(first, 3); // the epoch
    const stranger = systemRandom(20);
    await world.raw.cells.put(stranger, systemRandom(16390));
    const { problems, clean } = await world.check(false);
    expect(clean).toBe(false);
    expect(problems).toEqual([
      { kind: 'missing', design: upload.designId, segments: [2] },
      { kind: 'damaged', design: upload.designId, segments: [1, 3] },
      { kind: 'extra', indexes: [toHex(stranger)] },
    ]);
  });

  it('finds one flipped bit of a cell when it looks deep, and only then; decoys too', async () => {
    await flip(await indexOf(0), 4 + 9000);
    expect((await world.check(false)).clean).toBe(true);
    expect((await world.check(true)).problems).toEqual([{ kind: 'damaged', design: upload.designId, segments: [0] }]);
    const mine = new Set((await world.playbook.slice(upload.designId, 0, 4)).map(({ index }) => toHex(index)));
    for await (const { key } of world.raw.cells.range()) {
      if (mine.has(toHex(key))) continue;
      await flip(key, 100);
      break;
    }
    const { problems } = await world.check(true);
    expect(problems).toHaveLength(2);
    expect(problems).toContainEqual(expect.objectContaining({ kind: 'damaged', design: undefined }));
  });

  it.each(['at rest', 'in the middle of a sweep'])('lost and damaged decoys are made again: %s', async (when) => {
    const mine = new Set((await world.playbook.slice(upload.designId, 0, 4)).map(({ index }) => toHex(index)));
    const decoys: Uint8Array[] = [];
    for await (const { key } of world.raw.cells.range()) if (!mine.has(toHex(key))) decoys.push(key);
    const [lost, short, flipped] = decoys.map((key) => new Uint8Array(key));
    await world.raw.cells.delete(lost ?? new Uint8Array());
    await world.raw.cells.put(short ?? new Uint8Array(), new Uint8Array(7));
    await flip(flipped ?? new Uint8Array(), 9_000);
    if (when !== 'at rest') {
      await world.playbook.beginSweep();
      await world.tick();
      await world.stepCells();
      await world.stepKeys();
    }
    const found = (await world.check()).problems.flatMap((problem) =>
      'segments' in problem && problem.design === undefined ? problem.segments : [],
    );
    expect(found).toHaveLength(3);
    for (const segment of found) {
      const message = await world.playbook.decoysAgain(segment, 1);
      if (message === undefined) throw new Error('it is wanted');
      expect(message).toMatchObject({ decoys: true, from: segment });
      world.toCells.send(message);
    }
    await world.settle();
    expect(await world.check()).toMatchObject({ clean: true, cells: 8 });
    expect(await world.countCells()).toBe(8);
    await world.sweep();
    expect(await world.check()).toMatchObject({ clean: true });
    expect(await world.playbook.decoysAgain(4, 1)).toBeUndefined(); // there are four
  });

  it('names lost or altered records of the keys node', async () => {
    const id = Buffer.from(upload.designId, 'hex');
    const wrapped = (await world.raw.keys.get(contentKeysKey(id, 0))) ?? new Uint8Array();
    wrapped[40] = (wrapped[40] ?? 0) ^ 1;
    await world.raw.keys.put(contentKeysKey(id, 0), wrapped);
    await world.raw.keys.put(manifestKey(id), upload.manifest.subarray(1));
    const { problems } = await world.check(false);
    expect(problems).toMatchObject([
      { kind: 'manifest', design: upload.designId, reason: 'altered' },
      { kind: 'keys', design: upload.designId },
    ]);
    await expect(world.playbook.slice(upload.designId, 0, 1)).rejects.toMatchObject({ code: 'E_CELL_DAMAGED' });
  });

  it('in the middle of a sweep is clean too, holds it, and lets it go on', async () => {
    await world.playbook.beginSweep();
    await world.tick();
    expect(await world.playbook.beginCheck({ deep: false })).toBeUndefined(); // a message is under way
    await world.stepCells();
    await world.stepKeys();
    expect(await world.check()).toMatchObject({ clean: true, cells: 8 });
    const run = await world.playbook.beginCheck({ deep: false });
    expect(await world.playbook.beginCheck({ deep: false })).toBeUndefined();
    expect(await world.playbook.nextMaintenance()).toBeUndefined();
    expect(
      await world.playbook.instruct({ design: Buffer.from(upload.designId, 'hex'), from: 0, count: 1 }),
    ).toBeUndefined();
    run?.end();
    await world.settle();
    expect(world.playbook.status().epoch).toBe(3);
    expect(await world.check()).toMatchObject({ clean: true });
  });

  /** Parts of one cell; between them `meanwhile` happens. */
  async function checkDeep(meanwhile: (part: number) => Promise<void>) {
    const run = await world.playbook.beginCheck({ deep: true });
    if (run === undefined) throw new Error('no check');
    try {
      for (let part = await run.next(1); part !== undefined; part = await run.next(1)) {
        expect(await world.playbook.nextMaintenance()).toBeUndefined(); // a part is on its way
        run.take(await world.cells.check(part));
        if (!run.holdsAll) await meanwhile(part.part);
      }
      return run.report();
    } finally {
      run.end();
    }
  }
  const step = async () => {
    await world.tick();
    await world.stepCells();
    await world.stepKeys();
  };

  it('that is deep lets steps of sweeps go between its parts, and is as right as before', async () => {
    await flip(await indexOf(2), 9_000);
    await world.raw.cells.delete(await indexOf(3));
    const before = world.playbook.status().epoch;
    const report = await checkDeep(async () => {
      if (world.playbook.status().sweep === undefined) await world.playbook.beginSweep();
      await step();
    });
    expect(world.playbook.status().epoch).toBeGreaterThan(before + 1);
    expect(report).toMatchObject({ deep: true, epoch: before, cells: 8, designs: 1 });
    expect(report.problems).toEqual([
      { kind: 'missing', design: upload.designId, segments: [3] },
      { kind: 'damaged', design: upload.designId, segments: [2] },
    ]);
  });

  it('that is deep and finds nothing, over many epochs', async () => {
    const report = await checkDeep(() => world.sweep());
    expect(report).toMatchObject({ clean: true, cells: 8 });
    expect(world.playbook.status().epoch).toBeGreaterThan(8);
  });

  it('says nothing of what was repaired or deleted while it went on', async () => {
    await world.raw.cells.delete(await indexOf(0));
    const repaired = await checkDeep(async () => {
      world.toKeys.send({ type: 'want', design: Buffer.from(upload.designId, 'hex'), from: 0, count: 4 });
      await world.settle();
    });
    expect(repaired).toMatchObject({ clean: true });
    const deleted = await checkDeep(async (part) => {
      if (part === 9) await world.playbook.deleteDesign(upload.designId);
      await world.sweep();
    });
    expect(deleted.problems).toEqual([]);
  });

  it('takes each answer once, and only its own', async () => {
    const run = await world.playbook.beginCheck({ deep: false });
    const part = await run?.next(3);
    if (run === undefined || part === undefined) throw new Error('no check');
    const reply = await world.cells.check(part);
    expect(run.take({ ...reply, check: systemRandom(16) })).toBe(false);
    expect(run.take({ ...reply, part: 5 })).toBe(false);
    expect(run.take(reply)).toBe(true);
    expect(run.take(reply)).toBe(false);
    expect(run.done).toBe(false);
    expect(run.report().clean).toBe(false); // not before it is through
    run.end();
  });

  it('a lost cell is also named by the sweep, which goes on', async () => {
    await world.raw.cells.delete(await indexOf(1));
    await world.sweep();
    expect(world.playbook.status().epoch).toBe(3);
    expect(world.problems).toEqual([{ design: upload.designId, segment: 1 }]);
    expect((await world.check()).problems).toEqual([{ kind: 'missing', design: upload.designId, segments: [1] }]);
  });

  it('a lost cell can be stored again from the owner’s copy', async () => {
    await world.raw.cells.delete(await indexOf(1));
    await world.sweep();
    world.toKeys.send({ type: 'want', design: Buffer.from(upload.designId, 'hex'), from: 1, count: 1 });
    await world.settle();
    expect(await world.check()).toMatchObject({ clean: true });
    await world.assertReadable();
  });
});
