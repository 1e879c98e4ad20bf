import { type Bytes, toHex } from '@millrace/base';
import { MemoryStore } from '@millrace/stores';
import { describe, expect, it } from 'vitest';
import {
  applyOuterLayer,
  CONTENT_BYTES,
  encodeMessage,
  type MaintainMessage,
  type Manifest,
  maintenanceModes,
  openSegment,
  readManifest,
  type SliceCell,
} from '../src/index.ts';
import { makeUpload, World } from './world.ts';

const EPOCHS = 4;
const SEGMENTS = 6;

interface Epoch {
  readonly cells: ReadonlyMap<string, Bytes>;
  readonly playbook: readonly SliceCell[];
}

/** How many segments someone opens who holds these cells and that playbook with all its keys, CEKs included. */
function opened(
  cells: ReadonlyMap<string, Bytes>,
  playbook: readonly SliceCell[],
  manifest: Manifest,
): { byPlace: number; byTrying: number } {
  const tryOpen = (body: Bytes, { segment, outerKey, cek }: SliceCell): boolean => {
    try {
      const final = segment === manifest.segments - 1;
      openSegment({
        cek,
        sealed: applyOuterLayer(outerKey, body),
        designNonce: manifest.nonce,
        number: segment,
        final,
      });
      return true;
    } catch {
      return false;
    }
  };
  const byPlace = playbook.filter((cell) => {
    const body = cells.get(toHex(cell.index));
    return body !== undefined && tryOpen(body, cell);
  });
  const byTrying = playbook.filter((cell) => [...cells.values()].some((body) => tryOpen(body, cell)));
  return { byPlace: byPlace.length, byTrying: byTrying.length };
}

describe('stolen cells', () => {
  it.each(maintenanceModes)(
    'of one epoch open nothing with all keys of any other, and everything with those of the same: %s',
    async (mode) => {
      const world = await World.create({ density: 60 });
      const upload = await makeUpload(SEGMENTS * CONTENT_BYTES, undefined, mode);
      await world.add(upload);
      await world.settle();
      const manifest = readManifest(upload.manifest);
      const epochs: Epoch[] = [];
      for (let e = 0; e < EPOCHS; e++) {
        if (e > 0) await world.sweep();
        const cells = new Map<string, Bytes>();
        for await (const { key, value } of world.raw.cells.range()) cells.set(toHex(key), value.subarray(4));
        epochs.push({ cells, playbook: await world.playbook.slice(upload.designId, 0, SEGMENTS) });
      }
      for (const [stolen, { cells }] of epochs.entries()) {
        for (const [held, { playbook }] of epochs.entries()) {
          const expected = stolen === held ? SEGMENTS : 0;
          expect(opened(cells, playbook, manifest), `cells of ${stolen}, keys of ${held}`).toEqual({
            byPlace: expected,
            byTrying: expected,
          });
        }
      }
    },
  );

  it('and everything the keys node holds two epochs later, its disk and its node key included, does not bring them back', async () => {
    const world = await World.create({ density: 60 });
    const upload = await makeUpload(SEGMENTS * CONTENT_BYTES);
    await world.add(upload);
    await world.settle();
    const manifest = readManifest(upload.manifest);
    const stolen = new MemoryStore();
    for await (const { key, value } of world.raw.cells.range()) await stolen.put(key, value);
    await world.sweep();
    await world.sweep();
    // The thief runs the keys node itself, over its own files, against the stolen cells.
    const thief = await World.create({ stores: { ...world.raw, cells: stolen } });
    const cells = new Map<string, Bytes>();
    for await (const { key, value } of stolen.range()) cells.set(toHex(key), value.subarray(4));
    expect(opened(cells, await thief.playbook.slice(upload.designId, 0, SEGMENTS), manifest)).toEqual({
      byPlace: 0,
      byTrying: 0,
    });
  });

  it('cells alone, and cells with content keys alone, open nothing', async () => {
    const world = await World.create({ density: 60 });
    const upload = await makeUpload(SEGMENTS * CONTENT_BYTES);
    await world.add(upload);
    await world.settle();
    const manifest = readManifest(upload.manifest);
    const cells: Bytes[] = [];
    for await (const { value } of world.raw.cells.range()) cells.push(value.subarray(4));
    for (const body of cells) {
      for (let segment = 0; segment < SEGMENTS; segment++) {
        const cek = upload.ceks.subarray(32 * segment, 32 * segment + 32);
        const attempt = {
          cek,
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

  it('in mode delta the segments node is told no outer key, neither before nor after; in mode rekey it is told both', async () => {
    for (const mode of maintenanceModes) {
      const world = await World.create({ density: 60 });
      const upload = await makeUpload(SEGMENTS * CONTENT_BYTES, undefined, mode);
      await world.add(upload);
      await world.settle();
      const keys = async () =>
        (await world.playbook.slice(upload.designId, 0, SEGMENTS)).map(({ outerKey }) => outerKey);
      const before = await keys();
      const told: Bytes[] = [];
      await world.playbook.beginSweep();
      for (let step: MaintainMessage | undefined = await world.playbook.nextMaintenance(); step !== undefined; ) {
        told.push(encodeMessage(step));
        await world.playbook.maintained(await world.cells.maintain(step));
        step = await world.playbook.nextMaintenance();
      }
      const everything = Buffer.concat(told);
      const seen = [...before, ...(await keys())].filter((key) => everything.includes(Buffer.from(key)));
      expect(seen).toHaveLength(mode === 'delta' ? 0 : 2 * SEGMENTS);
      await world.assertReadable();
    }
  });

  it('decoys go by mask in the share of the designs that do', async () => {
    const world = await World.create({ density: 20 });
    await world.add(await makeUpload(20 * CONTENT_BYTES, undefined, 'delta'));
    await world.add(await makeUpload(20 * CONTENT_BYTES));
    await world.settle();
    await world.playbook.beginSweep();
    let masked = 0;
    let all = 0;
    for (let step: MaintainMessage | undefined = await world.playbook.nextMaintenance(); step !== undefined; ) {
      masked += step.masked.count;
      all += step.masked.count + step.items.count;
      await world.playbook.maintained(await world.cells.maintain(step));
      step = await world.playbook.nextMaintenance();
    }
    expect(all).toBe(200);
    expect(masked / all).toBeGreaterThan(0.45);
    expect(masked / all).toBeLessThan(0.55);
  });
});
