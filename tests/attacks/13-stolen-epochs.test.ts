import { type Bytes, toHex } from '@millrace/base';
import { MemoryCells } from '@millrace/stores';
import { allCells, overwriteCell } from '@millrace/testkit/vault/cells';
import { makeUpload, takeOffLayer, VaultFixture } from '@millrace/testkit/vault/vault-fixture';
import {
  CONTENT_BYTES,
  encodeMessage,
  type MaintainMessage,
  type Manifest,
  maintenanceModes,
  openSegment,
  type PointsEngine,
  PointsPool,
  readManifest,
  type SliceCell,
} from '@millrace/vault';
import { describe, expect, it } from 'vitest';

const EPOCHS = 4;
const SEGMENTS = 4;

interface Epoch {
  readonly cells: ReadonlyMap<string, Bytes>;
  readonly playbook: readonly SliceCell[];
}

/** The number of segments opened with these cells, that playbook with all its keys and CEKs, and the design secret. */
async function opened(
  cells: ReadonlyMap<string, Bytes>,
  playbook: readonly SliceCell[],
  { manifest, designSecret }: { readonly manifest: Manifest; readonly designSecret: Uint8Array },
  points: PointsEngine,
): Promise<{ byPlace: number; byTrying: number }> {
  const tryOpen = async (body: Bytes | undefined, cell: SliceCell): Promise<boolean> => {
    if (body === undefined) return false;
    const { segment, cek } = cell;
    try {
      const final = segment === manifest.segments - 1;
      const sealed = await takeOffLayer(points, cell, body);
      openSegment({ cek, designSecret, sealed, designNonce: manifest.nonce, number: segment, final });
      return true;
    } catch {
      return false;
    }
  };
  const found = { byPlace: 0, byTrying: 0 };
  for (const cell of playbook) {
    if (await tryOpen(cells.get(toHex(cell.index)), cell)) found.byPlace++;
    let any = false;
    for (const body of cells.values()) any = any || (await tryOpen(body, cell));
    if (any) found.byTrying++;
  }
  return found;
}

// Row 13: cells of one epoch and keys of another. With Delta-CTR and the key-homomorphic layer nothing opens. A keys
// node that kept a list of its layer keys would open every copy ever made.

describe('baseline: a keys node that keeps a list of layer keys', () => {
  it('opens every cell of any epoch with its current list', async () => {
    const fixture = await VaultFixture.create({ density: 60 });
    const upload = await makeUpload(SEGMENTS * CONTENT_BYTES);
    await fixture.add(upload);
    await fixture.settle();
    const manifest = readManifest(upload.manifest);
    const copies: ReadonlyMap<string, Bytes>[] = [];
    const list: SliceCell[] = [];
    for (let e = 0; e < EPOCHS; e++) {
      if (e > 0) await fixture.sweep();
      const cells = new Map<string, Bytes>();
      for (const { index, body } of await allCells(fixture.raw.cells)) cells.set(toHex(index), body);
      copies.push(cells);
      list.push(...(await fixture.playbook.slice(upload.designId, 0, SEGMENTS)));
    }
    for (const cells of copies)
      expect(await opened(cells, list, { manifest, designSecret: upload.designSecret }, fixture.points)).toEqual({
        byPlace: SEGMENTS,
        byTrying: SEGMENTS,
      });
  });
});

describe('stolen cells', () => {
  it.each(maintenanceModes)(
    'of one epoch open nothing with all keys of any other, and everything with those of the same: %s',
    async (mode) => {
      const fixture = await VaultFixture.create({ density: 60 });
      const upload = await makeUpload(SEGMENTS * CONTENT_BYTES, undefined, mode);
      await fixture.add(upload);
      await fixture.settle();
      const manifest = readManifest(upload.manifest);
      const epochs: Epoch[] = [];
      for (let e = 0; e < EPOCHS; e++) {
        if (e > 0) await fixture.sweep();
        const cells = new Map<string, Bytes>();
        for (const { index, body } of await allCells(fixture.raw.cells)) cells.set(toHex(index), body);
        epochs.push({ cells, playbook: await fixture.playbook.slice(upload.designId, 0, SEGMENTS) });
      }
      for (const [stolen, { cells }] of epochs.entries()) {
        for (const [held, { playbook }] of epochs.entries()) {
          const expected = stolen === held ? SEGMENTS : 0;
          expect(
            await opened(cells, playbook, { manifest, designSecret: upload.designSecret }, fixture.points),
            `cells of ${stolen}, keys of ${held}`,
          ).toEqual({
            byPlace: expected,
            byTrying: expected,
          });
        }
      }
    },
  );

  it('cannot be opened with everything that the keys node has two epochs later, disk and key included', async () => {
    const fixture = await VaultFixture.create({ density: 60 });
    const upload = await makeUpload(SEGMENTS * CONTENT_BYTES);
    await fixture.add(upload);
    await fixture.settle();
    const manifest = readManifest(upload.manifest);
    const stolen = new MemoryCells();
    for (const cell of await allCells(fixture.raw.cells)) await overwriteCell(stolen, cell);
    await fixture.sweep();
    await fixture.sweep();
    // The thief runs the keys node over its real files against the stolen cells.
    const thief = await VaultFixture.create({ stores: { ...fixture.raw, cells: stolen } });
    const cells = new Map<string, Bytes>();
    for (const { index, body } of await allCells(stolen)) cells.set(toHex(index), body);
    expect(
      await opened(
        cells,
        await thief.playbook.slice(upload.designId, 0, SEGMENTS),
        { manifest, designSecret: upload.designSecret },
        fixture.points,
      ),
    ).toEqual({
      byPlace: 0,
      byTrying: 0,
    });
  });

  it('cells alone, and cells with content keys alone, open nothing', async () => {
    const fixture = await VaultFixture.create({ density: 60 });
    const upload = await makeUpload(SEGMENTS * CONTENT_BYTES);
    await fixture.add(upload);
    await fixture.settle();
    const manifest = readManifest(upload.manifest);
    const cells: Bytes[] = [];
    for (const { body } of await allCells(fixture.raw.cells)) cells.push(body);
    for (const body of cells) {
      for (let segment = 0; segment < SEGMENTS; segment++) {
        const cek = upload.ceks.subarray(32 * segment, 32 * segment + 32);
        const attempt = {
          cek,
          designSecret: upload.designSecret,
          sealed: body,
          designNonce: manifest.nonce,
          number: segment,
          final: segment === SEGMENTS - 1,
        };
        expect(() => openSegment(attempt)).toThrow(expect.objectContaining({ code: 'E_SEAL' }));
      }
    }
    const everything = Buffer.concat(cells);
    for (let at = 0; at + 16 <= upload.content.length; at += 1024) {
      expect(everything.includes(Buffer.from(upload.content.subarray(at, at + 16)))).toBe(false);
    }
  });

  it('the segments node learns both outer keys in mode rekey, and none in modes delta and key-homomorphic', async () => {
    for (const mode of maintenanceModes) {
      const fixture = await VaultFixture.create({ density: 60 });
      const upload = await makeUpload(SEGMENTS * CONTENT_BYTES, undefined, mode);
      await fixture.add(upload);
      await fixture.settle();
      const keys = async () =>
        (await fixture.playbook.slice(upload.designId, 0, SEGMENTS)).map(({ outerKey }) => outerKey);
      const before = await keys();
      const told: Bytes[] = [];
      await fixture.playbook.beginSweep();
      for (let step: MaintainMessage | undefined = await fixture.playbook.nextMaintenance(); step !== undefined; ) {
        told.push(encodeMessage(step));
        await fixture.playbook.maintained(await fixture.cells.maintain(step));
        step = await fixture.playbook.nextMaintenance();
      }
      const everything = Buffer.concat(told);
      const seen = [...before, ...(await keys())].filter((key) => everything.includes(Buffer.from(key)));
      expect(seen).toHaveLength(mode === 'rekey' ? 2 * SEGMENTS : 0);
      await fixture.assertReadable();
    }
  });

  it('as many decoys as design cells are renewed by mask', async () => {
    const fixture = await VaultFixture.create({ density: 20 });
    await fixture.add(await makeUpload(20 * CONTENT_BYTES, undefined, 'delta'));
    await fixture.add(await makeUpload(20 * CONTENT_BYTES));
    await fixture.settle();
    await fixture.playbook.beginSweep();
    let masked = 0;
    let all = 0;
    for (let step: MaintainMessage | undefined = await fixture.playbook.nextMaintenance(); step !== undefined; ) {
      masked += step.masked.count;
      all += step.masked.count + step.items.count;
      await fixture.playbook.maintained(await fixture.cells.maintain(step));
      step = await fixture.playbook.nextMaintenance();
    }
    expect(all).toBe(200);
    expect(masked / all).toBeGreaterThan(0.45);
    expect(masked / all).toBeLessThan(0.55);
  });

  it('of real points open only with the keys of their epoch, and are indistinguishable from their decoys', async () => {
    const points = new PointsPool();
    try {
      const fixture = await VaultFixture.create({ density: 50, points });
      const upload = await makeUpload(100, undefined, 'key-homomorphic');
      await fixture.add(upload);
      await fixture.settle();
      const [before, [old]] = [await cellsOf(fixture), await fixture.playbook.slice(upload.designId, 0, 1)];
      await fixture.sweep();
      const [after, [now]] = [await cellsOf(fixture), await fixture.playbook.slice(upload.designId, 0, 1)];
      if (old === undefined || now === undefined) throw new Error('no slice');
      const manifest = readManifest(upload.manifest);
      expect(await opened(after, [now], { manifest, designSecret: upload.designSecret }, points)).toEqual({
        byPlace: 1,
        byTrying: 1,
      });
      expect(await opened(after, [old], { manifest, designSecret: upload.designSecret }, points)).toEqual({
        byPlace: 0,
        byTrying: 0,
      });
      expect(await opened(before, [now], { manifest, designSecret: upload.designSecret }, points)).toEqual({
        byPlace: 0,
        byTrying: 0,
      });
      expect([...before.values(), ...after.values()].map(({ length }) => length)).toEqual([
        18_054, 18_054, 18_054, 18_054,
      ]);
      expect(now.label).toEqual(old.label);
    } finally {
      await points.close();
    }
  });

  it('of points have their own decoys by the density, which are removed with the design', async () => {
    const fixture = await VaultFixture.create({ density: 25 });
    await fixture.add(await makeUpload(2 * CONTENT_BYTES));
    const precious = await makeUpload(3 * CONTENT_BYTES, undefined, 'key-homomorphic');
    await fixture.add(precious);
    await fixture.settle();
    const lengths = async () => [...(await cellsOf(fixture)).values()].map(({ length }) => length).sort();
    expect(await lengths()).toEqual([...Array(8).fill(16_386), ...Array(12).fill(18_054)]);
    expect(fixture.playbook.status()).toMatchObject({ cells: 20, decoys: 15, decoysWanted: 15 });
    await fixture.sweep();
    expect((await fixture.check()).problems).toEqual([]);
    await fixture.delete(precious.designId);
    await fixture.sweep();
    await fixture.sweep();
    expect(await lengths()).toEqual(Array(8).fill(16_386));
    expect((await fixture.check()).problems).toEqual([]);
  });
});

async function cellsOf(fixture: VaultFixture): Promise<Map<string, Bytes>> {
  const cells = new Map<string, Bytes>();
  for (const { index, body } of await allCells(fixture.raw.cells)) cells.set(toHex(index), body);
  return cells;
}
