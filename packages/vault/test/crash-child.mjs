// Both halves of a vault over LMDB and files, which kills itself at a given durable write.
//   node crash-child.mjs FOLDER prepare|sweep [N]
import { writeSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openLmdb } from '@millrace/stores';
import {
  applyOuterLayer,
  CellStore,
  openCellFile,
  openFileKeyWrapper,
  openSegment,
  openSlots,
  Playbook,
  prepareDesign,
  readManifest,
  segmentHash,
} from '../dist/index.js';

const [, , folder, task, nth = 'never'] = process.argv;
let writes = 0;

async function durable(work) {
  // Dying before a write leaves what dying after the one before it would.
  if (++writes === Number(nth)) process.kill(process.pid, 'SIGKILL');
  return work();
}

const fusedStore = (store) => ({
  get: (key) => store.get(key),
  has: (key) => store.has(key),
  range: (options) => store.range(options),
  batch: (batch) => durable(() => store.batch(batch)),
});
const fusedSlots = (slots) => ({
  read: (slot) => slots.read(slot),
  count: () => slots.count(),
  write: (slot, content) => durable(() => slots.write(slot, content)),
  erase: (slot) => durable(() => slots.erase(slot)),
});

await mkdir(folder, { recursive: true });
const keysLmdb = openLmdb({ path: join(folder, 'keys') });
const cellsLmdb = openLmdb({ path: join(folder, 'cells') });
const playbook = await Playbook.open({
  store: fusedStore(keysLmdb.store('playbook')),
  epochSlots: fusedSlots(await openSlots(join(folder, 'epoch.keys'))),
  designSlots: fusedSlots(await openSlots(join(folder, 'design.keys'))),
  wrapper: await openFileKeyWrapper(join(folder, 'kek')),
  density: 50,
});
// The file's own writes decide nothing: until the index names them they lie in free slots.
const cellFile = await openCellFile({ index: fusedStore(cellsLmdb.store('cells')), path: join(folder, 'cells.bin') });
const cells = new CellStore(cellFile);

const content = Uint8Array.from({ length: 30_000 }, (_, i) => (i * 31 + (i >> 8)) & 255);

async function store(maintenance) {
  const sealed = [];
  const prepared = await prepareDesign([content], {
    kind: 'binary',
    sink: (_, bytes) => void sealed.push(bytes),
    describe: ({ segments }) => ({ maintenance, times: new Array(segments).fill(1) }),
  });
  const manifest = readManifest(prepared.manifest);
  await playbook.addDesign({ manifest: prepared.manifest, owner: new Uint8Array(33), ceks: prepared.ceks });
  const design = Buffer.from(prepared.designId, 'hex');
  const message = await playbook.instruct({ design, from: 0, count: manifest.segments });
  await playbook.stored(
    await cells.storeCells(message, { sealed: (n) => sealed[n], hash: (n) => segmentHash(manifest, n) }),
  );
}

async function storeAll() {
  await store('rekey');
  await store('delta');
  for (let work = await playbook.decoyWork(); work !== undefined; work = await playbook.decoyWork()) {
    await playbook.stored(await cells.storeCells(work));
  }
}

async function sweepOnce() {
  await playbook.beginSweep();
  for (
    let message = await playbook.nextMaintenance(3);
    message !== undefined;
    message = await playbook.nextMaintenance(3)
  ) {
    const outcome = await playbook.maintained(await cells.maintain(message));
    if (outcome === undefined || outcome.missing.length + outcome.damaged.length > 0) throw new Error('a cell is lost');
  }
}

async function check() {
  const run = await playbook.beginCheck({ deep: true });
  if (run !== undefined) {
    for (let part = await run.next(); part !== undefined; part = await run.next()) run.take(await cells.check(part));
    const report = run.report();
    run.end();
    if (!report.clean) throw new Error(JSON.stringify(report));
  }
  for (const { design, segments } of playbook.designs()) {
    const manifest = readManifest(await playbook.manifest(design));
    const parts = [];
    for (const { segment, index, outerKey, cek } of await playbook.slice(design, 0, segments)) {
      const sealed = applyOuterLayer(outerKey, await cells.read(index));
      parts.push(
        openSegment({ cek, sealed, designNonce: manifest.nonce, number: segment, final: segment === segments - 1 }),
      );
    }
    if (!Buffer.concat(parts).subarray(0, manifest.size).equals(content)) throw new Error('the design differs');
  }
}

if (task === 'prepare') await storeAll();
if (task === 'sweep') {
  await check(); // what an earlier kill left reads and checks clean before anything mends it
  const epoch = playbook.status().epoch;
  await sweepOnce();
  writeSync(1, `swept from ${epoch} to ${playbook.status().epoch} in ${writes} writes\n`);
  await check();
}
await playbook.close();
await cellFile.close();
await keysLmdb.close();
await cellsLmdb.close();
writeSync(1, 'ok\n');
process.exit(0);
