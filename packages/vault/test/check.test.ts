import { concatBytes, systemRandom, toHex, u32be } from '@millrace/base';
import { overwriteCell } from '@millrace/testkit/vault/cells';
import { makeUpload, type Upload, VaultFixture } from '@millrace/testkit/vault/vault-fixture';
import { beforeEach, describe, expect, it } from 'vitest';
import { CONTENT_BYTES } from '../src/index.ts';
import { contentKeysKey, manifestKey } from '../src/records.ts';

let fixture: VaultFixture;
let upload: Upload;
beforeEach(async () => {
  fixture = await VaultFixture.create({ density: 50, batch: 3 });
  upload = await makeUpload(4 * CONTENT_BYTES);
  await fixture.add(upload);
  await fixture.settle();
  await fixture.sweep();
});

async function indexOf(segment: number): Promise<Uint8Array> {
  const [cell] = await fixture.playbook.slice(upload.designId, segment, segment + 1);
  return cell?.index ?? new Uint8Array();
}

async function flip(index: Uint8Array, at: number): Promise<void> {
  const { epoch, body } = (await fixture.raw.cells.get(index)) ?? { epoch: 0, body: new Uint8Array() };
  const value = concatBytes(u32be(epoch), body);
  value[at] = (value[at] ?? 0) ^ 1;
  const flipped = new DataView(value.buffer).getUint32(0);
  await overwriteCell(fixture.raw.cells, { index, epoch: flipped, body: value.subarray(4) });
}

/** Truncates a cell to three bytes. */
async function cut(index: Uint8Array): Promise<void> {
  const { epoch, body } = (await fixture.raw.cells.get(index)) ?? { epoch: 0, body: new Uint8Array() };
  await overwriteCell(fixture.raw.cells, { index, epoch, body: body.subarray(0, 3) });
}

describe('a check', () => {
  it('reports a sound vault as clean, deep or not', async () => {
    for (const deep of [true, false]) {
      expect(await fixture.check(deep)).toEqual({ clean: true, deep, epoch: 2, designs: 1, cells: 8, problems: [] });
    }
  });

  it('names missing, damaged and extra cells by design and segment', async () => {
    const [second, third, first] = [await indexOf(2), await indexOf(3), await indexOf(1)];
    await fixture.raw.cells.remove([second]);
    await cut(third);
    await flip(first, 3); // the epoch
    const stranger = systemRandom(20);
    await overwriteCell(fixture.raw.cells, { index: stranger, epoch: 0xffff_fffe, body: systemRandom(16386) });
    const { problems, clean } = await fixture.check(false);
    expect(clean).toBe(false);
    expect(problems).toEqual([
      { kind: 'missing', design: upload.designId, segments: [2] },
      { kind: 'damaged', design: upload.designId, segments: [1, 3] },
      { kind: 'extra', indexes: [toHex(stranger)] },
    ]);
  });

  it('detects one flipped bit of a cell, also of a decoy, only when it is deep', async () => {
    await flip(await indexOf(0), 4 + 9000);
    expect((await fixture.check(false)).clean).toBe(true);
    expect((await fixture.check(true)).problems).toEqual([{ kind: 'damaged', design: upload.designId, segments: [0] }]);
    const mine = new Set((await fixture.playbook.slice(upload.designId, 0, 4)).map(({ index }) => toHex(index)));
    for await (const { index } of fixture.raw.cells.outline()) {
      if (mine.has(toHex(index))) continue;
      await flip(index, 100);
      break;
    }
    const { problems } = await fixture.check(true);
    expect(problems).toHaveLength(2);
    expect(problems).toContainEqual(expect.objectContaining({ kind: 'damaged', design: undefined }));
  });

  it.each(['at rest', 'in the middle of a sweep'])('makes missing and damaged decoys again: %s', async (when) => {
    const mine = new Set((await fixture.playbook.slice(upload.designId, 0, 4)).map(({ index }) => toHex(index)));
    const decoys: Uint8Array[] = [];
    for await (const { index } of fixture.raw.cells.outline()) if (!mine.has(toHex(index))) decoys.push(index);
    const [lost, short, flipped] = decoys;
    await fixture.raw.cells.remove([lost ?? new Uint8Array()]);
    await cut(short ?? new Uint8Array());
    await flip(flipped ?? new Uint8Array(), 9_000);
    if (when !== 'at rest') {
      await fixture.playbook.beginSweep();
      await fixture.tick();
      await fixture.stepCells();
      await fixture.stepKeys();
    }
    const found = (await fixture.check()).problems.flatMap((problem) =>
      'segments' in problem && problem.design === undefined ? problem.segments : [],
    );
    expect(found).toHaveLength(3);
    for (const segment of found) {
      const message = await fixture.playbook.decoysAgain(segment, 1);
      if (message === undefined) throw new Error('it is wanted');
      expect(message).toMatchObject({ decoys: true, from: segment });
      fixture.toCells.send(message);
    }
    await fixture.settle();
    expect(await fixture.check()).toMatchObject({ clean: true, cells: 8 });
    expect(await fixture.countCells()).toBe(8);
    await fixture.sweep();
    expect(await fixture.check()).toMatchObject({ clean: true });
    expect(await fixture.playbook.decoysAgain(4, 1)).toBeUndefined(); // there are four
  });

  it('names missing or altered records of the keys node', async () => {
    const id = Buffer.from(upload.designId, 'hex');
    const wrapped = (await fixture.raw.keys.get(contentKeysKey(id, 0))) ?? new Uint8Array();
    wrapped[40] = (wrapped[40] ?? 0) ^ 1;
    await (await fixture.raw.keys.acquire()).append([
      { put: contentKeysKey(id, 0), value: wrapped },
      { put: manifestKey(id), value: upload.manifest.subarray(1) },
    ]);
    await fixture.startKeys();
    const { problems } = await fixture.check(false);
    expect(problems).toMatchObject([
      { kind: 'manifest', design: upload.designId, reason: 'altered' },
      { kind: 'keys', design: upload.designId },
    ]);
    await expect(fixture.playbook.slice(upload.designId, 0, 1)).rejects.toMatchObject({ code: 'E_CELL_DAMAGED' });
  });

  it('during a sweep is clean, pauses the sweep, and lets it continue', async () => {
    await fixture.playbook.beginSweep();
    await fixture.tick();
    expect(await fixture.playbook.beginCheck({ deep: false })).toBeUndefined(); // a message is in flight
    await fixture.stepCells();
    await fixture.stepKeys();
    expect(await fixture.check()).toMatchObject({ clean: true, cells: 8 });
    const run = await fixture.playbook.beginCheck({ deep: false });
    expect(await fixture.playbook.beginCheck({ deep: false })).toBeUndefined();
    expect(await fixture.playbook.nextMaintenance()).toBeUndefined();
    expect(
      await fixture.playbook.instruct({ design: Buffer.from(upload.designId, 'hex'), from: 0, count: 1 }),
    ).toBeUndefined();
    run?.end();
    await fixture.settle();
    expect(fixture.playbook.status().epoch).toBe(3);
    expect(await fixture.check()).toMatchObject({ clean: true });
  });

  /** A deep check with parts of one cell each. Calls `meanwhile` between the parts. */
  async function checkDeep(meanwhile: (part: number) => Promise<void>) {
    const run = await fixture.playbook.beginCheck({ deep: true });
    if (run === undefined) throw new Error('no check');
    try {
      for (let part = await run.next(1); part !== undefined; part = await run.next(1)) {
        expect(await fixture.playbook.nextMaintenance()).toBeUndefined(); // a part is in flight
        run.take(await fixture.cells.check(part));
        if (!run.holdsAll) await meanwhile(part.part);
      }
      return run.report();
    } finally {
      run.end();
    }
  }
  const step = async () => {
    await fixture.tick();
    await fixture.stepCells();
    await fixture.stepKeys();
  };

  it('that is deep lets sweep steps run between its parts, with the same result', async () => {
    await flip(await indexOf(2), 9_000);
    await fixture.raw.cells.remove([await indexOf(3)]);
    const before = fixture.playbook.status().epoch;
    const report = await checkDeep(async () => {
      if (fixture.playbook.status().sweep === undefined) await fixture.playbook.beginSweep();
      await step();
    });
    expect(fixture.playbook.status().epoch).toBeGreaterThan(before + 1);
    expect(report).toMatchObject({ deep: true, epoch: before, cells: 8, designs: 1 });
    expect(report.problems).toEqual([
      { kind: 'missing', design: upload.designId, segments: [3] },
      { kind: 'damaged', design: upload.designId, segments: [2] },
    ]);
  });

  it('that is deep is clean over many epochs', async () => {
    const report = await checkDeep(() => fixture.sweep());
    expect(report).toMatchObject({ clean: true, cells: 8 });
    expect(fixture.playbook.status().epoch).toBeGreaterThan(8);
  });

  it('does not report what was repaired or deleted during the check', async () => {
    await fixture.raw.cells.remove([await indexOf(0)]);
    const repaired = await checkDeep(async () => {
      fixture.toKeys.send({ type: 'want', design: Buffer.from(upload.designId, 'hex'), from: 0, count: 4 });
      await fixture.settle();
    });
    expect(repaired).toMatchObject({ clean: true });
    const deleted = await checkDeep(async (part) => {
      if (part === 9) await fixture.playbook.deleteDesign(upload.designId);
      await fixture.sweep();
    });
    expect(deleted.problems).toEqual([]);
  });

  it('accepts each answer once, and only its own', async () => {
    const run = await fixture.playbook.beginCheck({ deep: false });
    const part = await run?.next(3);
    if (run === undefined || part === undefined) throw new Error('no check');
    const reply = await fixture.cells.check(part);
    expect(run.take({ ...reply, check: systemRandom(16) })).toBe(false);
    expect(run.take({ ...reply, part: 5 })).toBe(false);
    expect(run.take(reply)).toBe(true);
    expect(run.take(reply)).toBe(false);
    expect(run.done).toBe(false);
    expect(run.report().clean).toBe(false); // not before all parts are answered
    run.end();
  });

  it('reports the same missing cell as the sweep, which continues', async () => {
    await fixture.raw.cells.remove([await indexOf(1)]);
    await fixture.sweep();
    expect(fixture.playbook.status().epoch).toBe(3);
    expect(fixture.problems).toEqual([{ design: upload.designId, segment: 1 }]);
    expect((await fixture.check()).problems).toEqual([{ kind: 'missing', design: upload.designId, segments: [1] }]);
  });

  it('is clean after a missing cell was stored again from the owner’s copy', async () => {
    await fixture.raw.cells.remove([await indexOf(1)]);
    await fixture.sweep();
    fixture.toKeys.send({ type: 'want', design: Buffer.from(upload.designId, 'hex'), from: 1, count: 1 });
    await fixture.settle();
    expect(await fixture.check()).toMatchObject({ clean: true });
    await fixture.assertReadable();
  });
});
