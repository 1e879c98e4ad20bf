// Both halves of a vault over LMDB and files, and what they are killed in. Plain JavaScript, as Node 20 runs it: the
// process that is killed loads the built vault, the test that looks at what it left loads the sources.
import { createCipheriv } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCellFile, openEnvironment } from '@millrace/stores/parts';
import { numbers } from './numbers.mjs';

export const SEGMENTS = 2;
/** What the repair brings back: a missing cell and a damaged one. */
export const LOST = [0, 1];
const SIZE = SEGMENTS * 16_370 - 500;
/** Cells of a sweep's message: two messages and a last one that only forgets. */
const LIMIT = 5;

/** The same for everybody; no two segments alike. @param {string} name */
export function contentOf(name) {
  return createCipheriv('aes-256-ctr', Buffer.alloc(32, name), Buffer.alloc(16)).update(Buffer.alloc(SIZE));
}

/**
 * @param {{ vault: typeof import('../../../vault/dist/index.js'), openLmdb: typeof import('@millrace/stores').openLmdb, folder: string,
 *   step?: (kind: string, work: () => Promise<unknown>) => Promise<any> }} options `step` is given every batch of a store
 */
export async function openDiskVault({ vault, openLmdb, folder, step = (_, work) => work() }) {
  const fused = (name, store) => ({
    get: (key) => store.get(key),
    getMany: (keys) => Promise.all(keys.map((key) => store.get(key))),
    has: (key) => store.has(key),
    range: (options) => store.range(options),
    batch: (batch) => step(name, () => store.batch(batch)),
    put: (key, value) => step(name, () => store.put(key, value)),
    delete: (key) => step(name, () => store.delete(key)),
    compareAndSwap: (...swap) => step(name, () => store.compareAndSwap(...swap)),
  });
  const fusedLog = (name, log) => ({
    get: (key) => log.get(key),
    range: (options) => log.range(options),
    acquire: async () => {
      const { token, append } = await step(name, () => log.acquire());
      // An empty batch writes nothing.
      return { token, append: (batch) => (batch.length === 0 ? append(batch) : step(name, () => append(batch))) };
    },
  });
  await mkdir(folder, { recursive: true });
  const keysLmdb = openLmdb({ path: join(folder, 'keys') });
  const cellsLmdb = openEnvironment({ path: join(folder, 'cells') });
  const index = cellsLmdb.store('cells');
  const epochSlots = await vault.openSlots(join(folder, 'epoch.keys'));
  const designSlots = await vault.openSlots(join(folder, 'design.keys'));
  const wrapper = await vault.openFileKeyWrapper(join(folder, 'kek'));
  const log = fusedLog('playbook', keysLmdb.log('playbook'));
  const playbook = await vault.Playbook.open({ log, epochSlots, designSlots, wrapper, density: 50 });
  const path = join(folder, 'cells.bin');
  const file = await openCellFile(fused('index', index), { path, slotBytes: vault.SLOT_BYTES });
  const engine = new vault.FileEngine(file, path, 1);
  const cells = new vault.CellStore(engine, numbers);

  const self = {
    playbook,
    cells,
    file,

    /** Seals a design as its owner does; what is uploaded is kept beside the vault. @param {string} name */
    async prepare(name, maintenance) {
      const sealed = [];
      const prepared = await vault.prepareDesign([contentOf(name)], {
        kind: 'binary',
        owner: new Uint8Array(33).fill(2),
        sink: (_, bytes) => void sealed.push(Buffer.from(bytes).toString('base64')),
        describe: ({ segments }) => ({ maintenance, times: new Array(segments).fill(1) }),
      });
      const { designId, manifest, ceks, designSecret } = prepared;
      const text = (bytes) => Buffer.from(bytes).toString('base64');
      const upload = { designId, manifest: text(manifest), ceks: text(ceks), designSecret: text(designSecret), sealed };
      await writeFile(join(folder, `${name}.json`), JSON.stringify(upload));
    },

    /** @param {string} name */
    async upload(name) {
      const { designId, sealed, ...rest } = JSON.parse(await readFile(join(folder, `${name}.json`), 'utf8'));
      const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'));
      const [manifest, ceks, designSecret] = [rest.manifest, rest.ceks, rest.designSecret].map(bytes);
      return { designId, manifest, ceks, designSecret, sealed: sealed.map(bytes) };
    },

    /** Stores some segments, in the first place or again. */
    async storeSegments(upload, from, count) {
      const manifest = vault.readManifest(upload.manifest);
      const design = new Uint8Array(Buffer.from(upload.designId, 'hex'));
      const message = await playbook.instruct({ design, from, count });
      const source = { sealed: (n) => upload.sealed[n], hash: (n) => vault.segmentHash(manifest, n) };
      await playbook.stored(await cells.storeCells(message, source));
    },

    /** As a restarted node does: from the beginning, or from where it was. @param {string} name */
    async store(name) {
      const upload = await self.upload(name);
      await playbook.addDesign({ manifest: upload.manifest, keys: upload.ceks });
      for (let view = playbook.design(upload.designId); !view.complete; view = playbook.design(upload.designId))
        await self.storeSegments(upload, view.stored, Math.min(2, view.segments - view.stored));
      for (let work = await playbook.decoyWork(); work !== undefined; work = await playbook.decoyWork())
        await playbook.stored(await cells.storeCells(work));
    },

    /** One message of the sweep under way. @returns whether there was one */
    async sweepStep() {
      const message = await playbook.nextMaintenance(LIMIT);
      if (message === undefined) return false;
      const outcome = await playbook.maintained(await cells.maintain(message));
      if (outcome === undefined) throw new Error('the playbook did not know its own message');
      self.lost.push(...outcome.missing, ...outcome.damaged);
      return true;
    },
    lost: [],

    async sweep() {
      await playbook.beginSweep();
      while (await self.sweepStep());
    },

    async delete(name) {
      const { designId } = await self.upload(name);
      if (playbook.designs().some(({ design }) => design === designId)) await playbook.deleteDesign(designId);
      await self.sweep();
    },

    async repair(name) {
      const upload = await self.upload(name);
      for (const segment of LOST) {
        const [{ index: place, outerKey }] = await playbook.slice(upload.designId, segment, segment + 1);
        const there = await cells.read(place).catch(() => undefined);
        const sound = there && Buffer.from(vault.applyOuterLayer(outerKey, there)).equals(upload.sealed[segment]);
        if (there && !sound) await cells.forget(place);
        if (!sound) await self.storeSegments(upload, segment, 1);
      }
    },

    /** Every byte of a design, as a machine opens it. @param {string} name */
    async read(name) {
      const { designId, designSecret } = await self.upload(name);
      const manifest = vault.readManifest(await playbook.manifest(designId));
      const parts = [];
      for (const { segment, index, outerKey, cek, label } of await playbook.slice(designId, 0, SEGMENTS)) {
        const body = await cells.read(index);
        const sealed =
          label === undefined
            ? vault.applyOuterLayer(outerKey, body)
            : (await numbers.run({ kind: 'takeOff', scalar: outerKey, label, bytes: body })).bytes;
        const final = segment === SEGMENTS - 1;
        const place = { designNonce: manifest.nonce, number: segment, final };
        parts.push(vault.openSegment({ cek, designSecret, sealed, ...place }));
      }
      return Buffer.concat(parts).subarray(0, manifest.size);
    },

    /** The deep check; undefined while a message of a sweep is under way. */
    async check() {
      const run = await playbook.beginCheck({ deep: true });
      if (run === undefined) return undefined;
      try {
        for (let part = await run.next(); part !== undefined; part = await run.next())
          run.take(await cells.check(part));
        return run.report();
      } finally {
        run.end();
      }
    },

    async countCells() {
      let count = 0;
      for await (const _ of index.range()) count++;
      return count;
    },

    async close() {
      await playbook.close();
      await wrapper.close();
      await epochSlots.close();
      await designSlots.close();
      await engine.close();
      await keysLmdb.close();
      await cellsLmdb.close();
    },
  };
  return self;
}

/** What a process is killed in. */
export const tasks = {
  store: (vault) => vault.store('late'),
  'store in the middle of a sweep': async (vault) => {
    await vault.playbook.beginSweep();
    await vault.sweepStep();
    await vault.store('late');
  },
  sweep: (vault) => vault.sweep(),
  delete: (vault) => vault.delete('rekeyed'),
  repair: (vault) => vault.repair('rekeyed'),
  'repair in the middle of a sweep': async (vault) => {
    await vault.playbook.beginSweep();
    await vault.sweepStep();
    await vault.repair('rekeyed');
  },
};
