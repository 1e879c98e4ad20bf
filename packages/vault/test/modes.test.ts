import { equalBytes, fromHex } from '@millrace/base';
import { overwriteCell } from '@millrace/testkit/vault/cells';
import { makeUpload, VaultFixture } from '@millrace/testkit/vault/vault-fixture';
import { describe, expect, it } from 'vitest';
import { CONTENT_BYTES, type MaintainMessage, readManifest, segmentHash } from '../src/index.ts';

/** Sweeps once and returns how many cells moved by mask, and how many by keys. */
async function sweepCounted(fixture: VaultFixture): Promise<{ masked: number; items: number }> {
  await fixture.playbook.beginSweep();
  const seen = { masked: 0, items: 0 };
  let step: MaintainMessage | undefined = await fixture.playbook.nextMaintenance();
  for (; step !== undefined; step = await fixture.playbook.nextMaintenance()) {
    seen.masked += step.masked.count;
    seen.items += step.items.count;
    await fixture.playbook.maintained(await fixture.cells.maintain(step));
  }
  return seen;
}

describe('the owner’s later choice of the mode', () => {
  it('applies from the next sweep; the newest request wins in any order of arrival and across a restart', async () => {
    const fixture = await VaultFixture.create({ density: 100 });
    const upload = await makeUpload(3 * CONTENT_BYTES);
    await fixture.add(upload);
    await fixture.settle();
    await fixture.playbook.beginSweep();
    expect(await fixture.playbook.setMode(upload.designId, 'delta', 1_000)).toBe('delta');
    await fixture.startKeys();
    expect(await sweepCounted(fixture)).toEqual({ masked: 0, items: 3 }); // the sweep that was running
    expect(await sweepCounted(fixture)).toEqual({ masked: 3, items: 0 });
    await fixture.startKeys();
    expect(await sweepCounted(fixture)).toEqual({ masked: 3, items: 0 });
    for (const issued of [999, 1_000])
      expect(await fixture.playbook.setMode(upload.designId, 'rekey', issued)).toBe('delta');
    expect(await sweepCounted(fixture)).toEqual({ masked: 3, items: 0 });
    expect(await fixture.playbook.setMode(upload.designId, 'rekey', 1_001)).toBe('rekey');
    expect(await sweepCounted(fixture)).toEqual({ masked: 0, items: 3 });
    await fixture.assertReadable();
    expect((await fixture.check()).clean).toBe(true);
  });

  it('is rejected for an unknown design', async () => {
    const fixture = await VaultFixture.create();
    await expect(fixture.playbook.setMode('00'.repeat(16), 'delta', 1)).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
  });

  it('an empty vault also gets a message per sweep, so that the segments node learns every epoch', async () => {
    const fixture = await VaultFixture.create();
    for (let to = 2; to < 5; to++) {
      await fixture.playbook.beginSweep();
      const step = await fixture.playbook.nextMaintenance();
      expect(step).toMatchObject({ to, number: 1 });
      if (step !== undefined) await fixture.playbook.maintained(await fixture.cells.maintain(step));
      expect(await fixture.playbook.nextMaintenance()).toBeUndefined();
      expect(fixture.playbook.status().epoch).toBe(to);
    }
  });
});

describe('cells of points', () => {
  it('are limited to designs of 65,480 bytes', async () => {
    const largest = await makeUpload(65_480, undefined, 'key-homomorphic');
    expect(readManifest(largest.manifest)).toMatchObject({ segments: 4, maintenance: 'key-homomorphic' });
    await expect(makeUpload(65_481, undefined, 'key-homomorphic')).rejects.toMatchObject({ code: 'E_TOO_LARGE' });
  });

  it('that are missing, altered or not points are named by a deep check and can be stored again', async () => {
    const fixture = await VaultFixture.create({ density: 50 });
    const upload = await makeUpload(3 * CONTENT_BYTES, undefined, 'key-homomorphic');
    await fixture.add(upload);
    await fixture.settle();
    await fixture.sweep();
    const cells = fixture.raw.cells;
    const places = await fixture.playbook.slice(upload.designId, 0, 3);
    const [altered, junk, lost] = places.map(({ index }) => index);
    const all: Uint8Array[] = [];
    for await (const { index } of cells.outline()) all.push(index);
    const decoy = all.find((one) => !places.some(({ index }) => equalBytes(index, one)));
    if (!altered || !junk || !lost || !decoy) throw new Error('no cells');
    const other = await cells.get(junk);
    await overwriteCell(cells, { index: altered, epoch: 2, body: other?.body ?? new Uint8Array() });
    await overwriteCell(cells, { index: junk, epoch: 2, body: new Uint8Array(18_054).fill(255) });
    await cells.remove([lost, decoy]);
    const { problems } = await fixture.check();
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
    const store = await fixture.playbook.instruct({ design: fromHex(upload.designId), from: 0, count: 3 });
    if (store === undefined) throw new Error('no instructions');
    const sound = () =>
      Promise.all(
        store.cells.map((cell, i) => fixture.cells.holds({ ...cell, label: store.labels[i], hash: source.hash(i) })),
      );
    expect(await sound()).toEqual([false, false, undefined]);
    await cells.remove([altered, junk]);
    await fixture.cells.storeCells(store, source);
    expect(await sound()).toEqual([true, true, true]);
    for (let n = 0; n < 3; n++) {
      const again = await fixture.playbook.decoysAgain(n, 1, { points: true });
      if (again !== undefined) await fixture.cells.storeCells(again);
    }
    expect((await fixture.check()).problems).toEqual([]);
    await fixture.sweep();
    await fixture.assertReadable();
  });

  it('that are no longer points are reported as damaged by a sweep, which continues', async () => {
    const fixture = await VaultFixture.create({ density: 100 });
    const upload = await makeUpload(2 * CONTENT_BYTES, undefined, 'key-homomorphic');
    await fixture.add(upload);
    await fixture.settle();
    const [cell] = await fixture.playbook.slice(upload.designId, 0, 1);
    if (cell === undefined) throw new Error('no cell');
    await overwriteCell(fixture.raw.cells, { index: cell.index, epoch: 1, body: new Uint8Array(18_054).fill(255) });
    await fixture.sweep();
    expect(fixture.problems).toEqual([{ design: upload.designId, segment: 0 }]);
    expect(fixture.playbook.status().epoch).toBe(2);
  });
});
