import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep } from '@millrace/base';
import { nodeFiles } from '@millrace/cli/parts';
import { type Session, signNew } from '@millrace/client';
import { openPlaybookIn } from '@millrace/cloud/admin';
import { openLmdb } from '@millrace/stores';
import { millrace } from '@millrace/testkit/cli';
import { randomDesign } from '@millrace/testkit/designs';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { openFileEngine, openSlots } from '@millrace/vault';
import { afterAll, beforeAll, expect, it } from 'vitest';

const design = randomDesign(6 * 16_370);
const rate = Math.ceil(design.length / 0.5);
const options = { kind: 'binary', bytesPerSecond: rate } as const;

let system: TestInstallation;
let owner: Session;
let operator: Session;
let id: string;
let licence: string;
/** The keys node has not received this mail when the backup is made. */
let onItsWay: string;
/** A licence for three objects of a design in the third backup. Two of them are made after it. */
let used: string;
let first: string;
let second: string;

beforeAll(async () => {
  system = await createTestInstallation({
    machine: { kind: 'sink', factor: 1, bytesPerSecond: rate, stallMs: 3_000 },
    maintenance: { periodMs: 1_000, density: 50 },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
  ({ design: id } = await store(system, owner, design, { name: 'a.bin', ...options }));
  licence = await license(system, owner, id, 4);
  // Answered after all earlier mail, so the keys node has the licence.
  expect((await millrace(system.home, 'vault', 'check', '--json')).exit).toBe(0);
  first = join(system.scratch, 'first.backup');
  second = join(system.scratch, 'second.backup');
});
afterAll(() => system?.close());

async function stopAll(): Promise<void> {
  for (const process of Object.values(system.processes)) await process.kill();
}

async function startAll(): Promise<void> {
  for (const name of ['control', 'distribution', 'segments', 'keys', 'machine'] as const)
    await system.processes[name].start();
}

async function printOnce(): Promise<void> {
  const view = await untilEnded(operator, await order(system, operator, licence));
  expect(view).toMatchObject({ state: 'completed' });
  expect(await machineObject(system, objectOf(view))).toMatchObject({ sha256: hashOf(design) });
}

/** A copy of the cells, as a thief could take it. */
async function stealCells(as: string): Promise<string> {
  const copy = join(system.scratch, as);
  await cp(join(folderOf(system.installation, 'segments'), 'data'), copy, { recursive: true });
  return copy;
}

/** The number of the design's cells in a stolen copy that the keys node's folder locates and opens. */
async function placesFound(cellsCopy: string): Promise<number> {
  const keys = folderOf(system.installation, 'keys');
  const { playbook, close } = await openPlaybookIn(keys);
  const stolen = openLmdb({ path: cellsCopy });
  const path = join(cellsCopy, 'cells.bin');
  const engine = await openFileEngine({ lmdb: stolen, index: 'cell-index', path });
  let found = 0;
  for (const { index } of await playbook.slice(id, 0, 6)) if ((await engine.cells.get(index)) !== undefined) found++;
  for (const opened of [engine, stolen]) await opened.close();
  await close();
  return found;
}

it('is made while the installation is stopped, and contains no plaintext', async () => {
  await system.processes.keys.kill();
  onItsWay = await license(system, owner, id, 1);
  await stopAll();
  const before = await stealCells('before');
  const made = await millrace(system.home, 'backup', 'create', first, '--json');
  expect(made.json, made.stderr).toMatchObject({ destroyed: 0, file: first });
  const kek = await readFile(join(folderOf(system.installation, 'keys'), 'kek.key'));
  expect((await readFile(first)).includes(kek)).toBe(false);
  expect((await millrace(system.home, 'backup', 'create', first, '--json')).json).toMatchObject({ destroyed: 1 });
  const after = await stealCells('after');
  // The backup has its own epoch: its keys find no cell that a running node held, before or after it.
  expect((await millrace(system.home, 'backup', 'restore', first, '--json')).json).toMatchObject({
    files: expect.any(Number),
  });
  expect(await placesFound(before)).toBe(0);
  expect(await placesFound(after)).toBe(0);
  expect(await placesFound(join(folderOf(system.installation, 'segments'), 'data'))).toBe(6);
});

it('is restored: the check is clean, prints work, counts continue', async () => {
  await startAll();
  await printOnce();
  expect((await millrace(system.home, 'vault', 'check', '--deep', '--json')).exit).toBe(0);
  expect((await owner.api.status()).quarantine).toEqual([]);
  expect((await owner.api.licence(licence)).permitted).toBe(1);
  await sleep(2_500); // epochs continue
  await printOnce();
});

it('mail to a restored node is refused, because backups contain no box keys', async () => {
  await expect(order(system, operator, onItsWay)).rejects.toMatchObject({ code: 'E_LICENCE_INVALID' });
  const secrets = await openSlots(join(folderOf(system.installation, 'keys'), 'data', nodeFiles.boxes.attachments));
  expect(await secrets.count()).toBe(1); // a new one
  await secrets.close();
});

it('is refused when altered, truncated or without its key, and nothing is changed', async () => {
  await stopAll();
  const bytes = await readFile(first);
  const bad = join(system.scratch, 'bad.backup');
  const flipped = Buffer.from(bytes);
  flipped[bytes.length >> 1] = (flipped[bytes.length >> 1] ?? 0) ^ 1;
  for (const content of [
    flipped,
    bytes.subarray(0, bytes.length - 70_000),
    bytes.subarray(0, 40),
    Buffer.from('no backup'),
  ]) {
    await writeFile(bad, content);
    expect((await millrace(system.home, 'backup', 'restore', bad)).code).toBe('E_BACKUP');
  }
  const empty = join(system.scratch, 'other.keys');
  expect((await millrace(system.home, 'backup', 'restore', first, '--key', empty)).code).toBe('E_BACKUP');
  await startAll();
  await printOnce();
});

it('a restore keeps later deletions and permits; newer designs and licences are lost and listed', async () => {
  const third = join(system.scratch, 'third.backup');
  const add = async (name: string) => {
    const stored = await store(system, owner, randomDesign(3 * 16_370), { name, ...options });
    return { id: stored.design, licence: await license(system, owner, stored.design, 3) };
  };
  const [gone, made] = [await add('gone.bin'), await add('made.bin')];
  // Answered after all earlier mail: the keys node has the licences, and so has the backup.
  expect((await millrace(system.home, 'vault', 'check', '--json')).exit).toBe(0);
  await stopAll();
  expect((await millrace(system.home, 'backup', 'create', third, '--json')).exit).toBe(0);
  await startAll();
  expect((await millrace(system.home, 'design', 'delete', gone.id, '--json')).json).toMatchObject({ state: 'deleted' });
  expect(await untilEnded(operator, await order(system, operator, made.licence))).toMatchObject({ state: 'completed' });
  used = made.licence;
  const late = await add('late.bin');
  await stopAll();
  const restored = await millrace(system.home, 'backup', 'restore', third, '--json');
  expect(restored.json, restored.stderr).toMatchObject({ control: 'kept', lost: { designs: 1, licences: 1 } });
  expect(await holds(gone.id)).toBe(true); // with its keys, as at that time
  await startAll();
  expect(await owner.api.design(gone.id)).toMatchObject({ state: 'deleted' });
  await expect(order(system, operator, gone.licence)).rejects.toMatchObject({ code: 'E_DESIGN_DELETED' });
  expect((await owner.api.licence(made.licence)).permitted).toBe(1);
  expect(await untilEnded(operator, await order(system, operator, made.licence))).toMatchObject({ state: 'completed' });
  expect((await owner.api.licence(made.licence)).permitted).toBe(2);
  expect(await owner.api.design(late.id)).toMatchObject({ state: 'refused', code: 'E_BACKUP' });
  await expect(order(system, operator, late.licence)).rejects.toMatchObject({ code: 'E_LICENCE_INVALID' });
  expect((await owner.api.status()).quarantine).toEqual([]);
  expect(await owner.api.ledgerCheck()).toMatchObject({ ok: true });
  expect((await millrace(system.home, 'vault', 'check', '--deep', '--json')).json?.problems).toEqual([]);
  await stopAll();
  expect(await holds(gone.id)).toBe(false); // the keys node asked control, and verified the owner's signature
  expect(await holds(made.id)).toBe(true);
});

it('without the current control node it is refused unless the loss is accepted; owners state the rest', async () => {
  const third = join(system.scratch, 'third.backup');
  const data = join(folderOf(system.installation, 'control'), 'data', 'data.mdb');
  const today = await readFile(data);
  await writeFile(data, randomDesign(today.length));
  expect(await millrace(system.home, 'backup', 'restore', third)).toMatchObject({ code: 'E_BACKUP' });
  expect((await readFile(data)).equals(today)).toBe(false); // nothing was changed
  const accepted = await millrace(system.home, 'backup', 'restore', third, '--accept-loss', '--json');
  expect(accepted.json, accepted.stderr).toMatchObject({ control: 'restored', lost: null, suspended: 3 });
  await startAll();

  // According to the backup no object was made. In fact two were.
  const view = await owner.api.licence(used);
  expect(view).toMatchObject({ permitted: 0, objects: 3, suspended: { most: 3 } });
  await expect(order(system, operator, used)).rejects.toMatchObject({ code: 'E_LICENCE_SUSPENDED' });
  await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_LICENCE_SUSPENDED' });
  const { restore = '' } = view?.suspended ?? {};
  const says = async (session: Session, objects: number, of = restore) =>
    session.api.submit((await signNew(session, { type: 'licence.resume', licence: used, restore: of, objects })).bytes);
  await expect(says(operator, 3)).rejects.toMatchObject({ code: 'E_FORBIDDEN' });
  await expect(says(owner, 4)).rejects.toMatchObject({ code: 'E_INPUT' });
  await expect(says(owner, 1, 'f'.repeat(32))).rejects.toMatchObject({ code: 'E_STATE' });
  expect((await millrace(system.home, 'licence', 'resume', used, '--left', '4')).code).toBe('E_INPUT');
  await expect(order(system, operator, used)).rejects.toMatchObject({ code: 'E_LICENCE_SUSPENDED' });

  const resumed = await millrace(system.home, 'licence', 'resume', used, '--left', '1', '--json');
  expect(resumed.json, resumed.stderr).toMatchObject({ licence: used, left: 1 });
  // The machine's odometer shows what the restored records do not.
  const stopped = await untilEnded(operator, await order(system, operator, used));
  expect(stopped).toMatchObject({ state: 'refused', code: 'E_ALARM', reason: expect.stringContaining('alarm clear') });
  expect((await millrace(system.home, 'alarm', 'clear', stopped.machine, '--json')).exit).toBe(0);
  const last = await untilEnded(operator, await order(system, operator, used));
  expect(last).toMatchObject({ state: 'completed', object: `${used}-3` });
  await expect(order(system, operator, used)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
  expect((await millrace(system.home, 'licence', 'resume', licence, '--left', '1', '--json')).exit).toBe(0);
  await printOnce();
  expect(await owner.api.ledgerCheck()).toMatchObject({ ok: true });
});

async function holds(design: string): Promise<boolean> {
  const { playbook, close } = await openPlaybookIn(folderOf(system.installation, 'keys'));
  return close().then(() => playbook.designs().some((view) => view.design === design));
}

it('a later backup, or destroying, makes older ones useless: deleted designs stay deleted', async () => {
  expect((await millrace(system.home, 'design', 'delete', id, '--json')).json).toMatchObject({ state: 'deleted' });
  await stopAll();
  const made = await millrace(system.home, 'backup', 'create', second, '--json');
  expect(made.json, made.stderr).toMatchObject({ destroyed: 1 });
  expect((await millrace(system.home, 'backup', 'restore', first)).code).toBe('E_BACKUP');
  expect((await millrace(system.home, 'backup', 'restore', second, '--json')).exit).toBe(0);
  await startAll();
  expect(await owner.api.design(id)).toMatchObject({ state: 'deleted' });
  await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_DESIGN_DELETED' });
  await stopAll();
  expect((await millrace(system.home, 'backup', 'destroy', '--json')).json).toMatchObject({ destroyed: 1 });
  expect((await millrace(system.home, 'backup', 'restore', second)).code).toBe('E_BACKUP');
  await rm(second);
});
