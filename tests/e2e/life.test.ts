import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromHex, sleep, systemRandom } from '@millrace/base';
import {
  checkCertificate,
  checkVault,
  repairDesign,
  type Session,
  storeDesign,
  suspendLicence,
  trustOf,
} from '@millrace/client';
import { keepCopy, openCopy, prepareFile } from '@millrace/client/node';
import { signTransaction } from '@millrace/protocol';
import { type Cells, openLmdb } from '@millrace/stores';
import { millrace } from '@millrace/testkit/cli';
import { randomDesign } from '@millrace/testkit/designs';
import {
  eventsOf,
  hashOf,
  license,
  machineObject,
  objectOf,
  order,
  store,
  untilEnded,
  untilPrint,
} from '@millrace/testkit/job';
import { oneOf } from '@millrace/testkit/share';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { allCells, overwriteCell } from '@millrace/testkit/vault/cells';
import { openFileEngine } from '@millrace/vault';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

const SEGMENTS = 12;
const design = randomDesign(SEGMENTS * 16_370);
const rate = Math.ceil(design.length / 2);
const options = { kind: 'binary', bytesPerSecond: rate } as const;

let system: TestInstallation;
let owner: Session;
let operator: Session;

beforeAll(async () => {
  system = await createTestInstallation({
    machine: { kind: 'sink', factor: 1, bytesPerSecond: rate, stallMs: 3_000 },
    maintenance: { periodMs: 1_000, density: 50 },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
});
afterAll(() => system?.close());

/** Changes cells on disk while the segments node is stopped. */
async function inCells(work: (cells: Cells) => Promise<void>): Promise<void> {
  await system.processes.segments.kill();
  const data = join(folderOf(system.installation, 'segments'), 'data');
  const lmdb = openLmdb({ path: data });
  const engine = await openFileEngine({ lmdb, index: 'cell-index', path: join(data, 'cells.bin') });
  await work(engine.cells);
  await engine.close();
  await lmdb.close();
  await system.processes.segments.start();
}

async function countCells(): Promise<number> {
  let count = 0;
  await inCells(async (cells) => {
    for await (const _ of cells.outline()) count++;
  });
  return count;
}

describe('a licence that its owner suspends and revokes', () => {
  it('finishes started objects, refuses others, and can be reinstated', async () => {
    const { design: id } = await store(system, owner, randomDesign(60 * 16_370), { name: 'lent.bin', ...options });
    const licence = await license(system, owner, id, 5);
    const running = await order(system, operator, licence);
    const queued = await order(system, operator, licence);
    await untilPrint(operator, running, ({ progress }) => (progress?.acked ?? 0) >= 1);
    await suspendLicence(owner, await owner.api.licence(licence));
    expect(await untilEnded(operator, queued)).toMatchObject({ state: 'refused', code: 'E_LICENCE_SUSPENDED' });
    await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_LICENCE_SUSPENDED' });
    expect(await untilEnded(operator, running)).toMatchObject({ state: 'completed' });

    const command = (...words: string[]) => millrace(system.home, 'licence', ...words, '--json');
    expect(await command('reinstate', licence, '--user', 'operator')).toMatchObject({ exit: 3, code: 'E_AUTH' });
    expect((await command('reinstate', licence.slice(0, 12))).json).toMatchObject({ licence, status: 'active' });
    expect((await command('suspend', licence)).json).toMatchObject({ status: 'suspended' });
    expect((await command('revoke', licence)).json).toMatchObject({ status: 'revoked' });
    await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_LICENCE_REVOKED' });
    expect((await millrace(system.home, 'licence', 'show', licence)).stdout).toMatch(/revoked/);
    // The certificate of an earlier object contains the owner's statements, and a third party verifies it.
    const { object = '' } = await operator.api.print(running);
    const { checked } = await checkCertificate(await owner.api.certificate(object), trustOf(owner));
    expect(checked.join('\n')).toContain('revoked after this object was ordered');
  });

  it('revoked with --stop ends objects in progress, and the ledger gives the reason', async () => {
    // A minute of a print: it is still running when the command has started.
    const { design: id } = await store(system, owner, randomDesign(360 * 16_370), { name: 'stop.bin', ...options });
    const licence = await license(system, owner, id, 5);
    const stopped = await order(system, operator, licence);
    await untilPrint(operator, stopped, ({ progress }) => (progress?.acked ?? 0) >= 1);
    const revoked = await millrace(system.home, 'licence', 'revoke', licence, '--stop', '--json');
    expect(revoked.json).toMatchObject({ status: 'revoked' });
    const ended = await untilEnded(operator, stopped);
    expect(ended).toMatchObject({ state: 'failed', code: 'E_LICENCE_REVOKED' });
    const taken = await machineObject(system, objectOf(ended));
    expect(taken).toMatchObject({ event: 'failed', code: 'E_LICENCE_REVOKED' });
    expect(taken.segments).toBeLessThan(360);
    const { events } = await owner.api.object(objectOf(ended));
    expect(events.at(-1)).toMatchObject({ type: 'failed', body: { code: 'E_LICENCE_REVOKED' } });
    const shown = await millrace(system.home, 'object', 'show', objectOf(ended));
    expect(shown.stdout).toMatch(/next: The owner grants/);
  });
});

describe('queued prints of an offline machine', () => {
  it('are listed in order, cancelled one by one and all at once', async () => {
    const { design: id } = await store(system, owner, randomDesign(40_000), { name: 'wait.bin', ...options });
    const licence = await license(system, owner, id, 5);
    await system.processes.machine.stop();
    const first = await order(system, operator, licence);
    const second = await order(system, operator, licence);
    const third = await order(system, operator, licence);
    const waiting = await millrace(system.home, 'queue', 'list', '--json');
    expect(waiting.json).toMatchObject({ prints: [{ print: first }, { print: second }, { print: third }] });
    const cancelled = await millrace(system.home, 'queue', 'cancel', second, '--json');
    expect(cancelled.json).toMatchObject({ print: second, state: 'cancelled' });
    const next = expect.stringContaining('holder');
    expect(await operator.api.print(second)).toMatchObject({ state: 'cancelled', code: 'E_CANCELLED', next });
    expect((await millrace(system.home, 'queue', 'clear', '--json')).json).toEqual({ cancelled: [first, third] });
    await system.processes.machine.start();
    expect((await owner.api.licence(licence)).permitted).toBe(0);
  });
});

describe('deleting', () => {
  it('needs the owner’s signature; every node refuses another owner’s', async () => {
    const { design: id } = await store(system, owner, randomDesign(40_000), { name: 'mine.bin', ...options });
    const body = {
      type: 'design.delete',
      design: id,
      id: systemRandom(16),
      issued: Date.now(),
      expires: Date.now() + 60_000,
    } as const;
    const forged = await signTransaction(operator.signer, system.installation.directory.installation, body);
    await expect(operator.api.submit(forged)).rejects.toMatchObject({ code: 'E_FORBIDDEN' });
    expect(await owner.api.design(id)).toMatchObject({ state: 'stored' });
  });

  it('destroys the keys, refuses licences and queued prints, ends the running stream, empties the vault', async () => {
    // Ten seconds of a print: it is still running when the command has started.
    const { design: id } = await store(system, owner, randomDesign(60 * 16_370), { name: 'gone.bin', ...options });
    const licence = await license(system, owner, id, 3);
    const running = await order(system, operator, licence);
    const queued = await order(system, operator, licence);
    await untilPrint(operator, running, ({ progress }) => (progress?.acked ?? 0) >= 3);
    const cells = await owner.api.status();
    expect(cells.maintenance).toBeDefined();

    const done = await millrace(system.home, 'design', 'delete', id, '--json');
    expect(done.json).toMatchObject({ design: id, state: 'deleted' });
    const ended = await untilEnded(operator, running);
    expect(ended).toMatchObject({ state: 'failed', code: 'E_DESIGN_DELETED' });
    expect((await eventsOf(owner, objectOf(ended))).at(-1)).toBe('failed');
    expect(await untilEnded(operator, queued)).toMatchObject({ state: 'refused', code: 'E_DESIGN_DELETED' });
    await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_DESIGN_DELETED' });
    await expect(license(system, owner, id, 1)).rejects.toMatchObject({ code: 'E_DESIGN_DELETED' });
    expect((await owner.api.licence(licence)).permitted).toBe(1);
    // A repetition changes nothing.
    expect((await millrace(system.home, 'design', 'delete', id, '--json')).json).toMatchObject({ state: 'deleted' });
  });

  it('is complete at the next epoch: no cell is left, the check is clean', async () => {
    await sleep(4_000); // by then a sweep that began after the deletion has ended, unless the computer is very busy
    expect(await millrace(system.home, 'vault', 'check', '--deep', '--json')).toMatchObject({ exit: 0 });
    const kept = (await owner.api.designs()).filter(({ state }) => state === 'stored');
    const real = kept.reduce((total, { segments }) => total + segments, 0);
    // As many decoys as cells. During a sweep a cell may be at its old and its new place. Counting kills the node, and
    // the node needs some time to continue with the sweep before the next count.
    await vi.waitFor(async () => expect(await countCells()).toBe(2 * real), { timeout: 60_000, interval: 1_500 });
  });

  it.each(oneOf(['control', 'segments', 'keys', 'distribution'] as const))(
    'continues when %s is killed',
    async (name) => {
      for (let i = 0; i < 2; i++) {
        const { design: id } = await store(system, owner, randomDesign(3 * 16_370 + i), {
          name: `${name}${i}.bin`,
          ...options,
        });
        const deleted = millrace(system.home, 'design', 'delete', id, '--json');
        await sleep(300 + i * 150); // the command starts meanwhile
        await system.processes[name].restart();
        expect((await deleted).json, (await deleted).stderr).toMatchObject({ state: 'deleted' });
      }
    },
  );

  it('during an upload wipes the staging copies', async () => {
    const file = join(system.scratch, 'half.bin');
    await writeFile(file, design);
    const prepared = await prepareFile(owner, file, options, () => undefined);
    await system.processes.segments.kill(); // the upload stays staged
    const stored = storeDesign(owner, prepared, () => undefined);
    stored.catch(() => undefined);
    const id = prepared.state.design;
    const uploads = join(folderOf(system.installation, 'distribution'), 'data', 'uploads');
    for (;;) {
      const staged = await readdir(join(uploads, id)).catch(() => []);
      if (staged.filter((name) => /^\d+$/.test(name)).length === SEGMENTS) break;
      await sleep(20);
    }
    expect((await millrace(system.home, 'design', 'delete', id, '--json')).json).toMatchObject({ state: 'deleted' });
    await system.processes.segments.start();
    for (let i = 0; (await readdir(uploads)).includes(id); i++) {
      expect(i).toBeLessThan(100);
      await sleep(100);
    }
    expect(await owner.api.design(id)).toMatchObject({ state: 'deleted' });
  });
});

describe('damage', () => {
  const folder = () => join(system.scratch, 'copies');
  let id: string;
  let licence: string;

  it('an offline copy is kept', async () => {
    const file = join(system.scratch, 'repairable.bin');
    await writeFile(file, design);
    const prepared = await prepareFile(owner, file, options, () => undefined);
    await keepCopy(prepared, folder());
    await keepCopy(prepared, folder()); // kept for the next tests
    ({ design: id } = await storeDesign(owner, prepared, () => undefined));
    licence = await license(system, owner, id, 3);
  });

  it('is found by the keys node, shown, and rejects a print before it starts', async () => {
    await inCells(async (cells) => {
      const indexes: Uint8Array[] = [];
      for await (const { index } of cells.outline()) indexes.push(index);
      await cells.remove(indexes);
    });
    const found = await until(async () => (await owner.api.design(id)).damage);
    expect(found.missing).toEqual(Array.from({ length: SEGMENTS }, (_, i) => i));
    const view = await untilEnded(operator, await order(system, operator, licence));
    expect(view).toMatchObject({ state: 'refused', code: 'E_CELL_MISSING' });
    expect(view.reason).toContain('0-11');
    expect((await owner.api.licence(licence)).permitted).toBe(0);
    const listed = await millrace(system.home, 'design', 'list');
    expect(listed.stdout).toMatch(/12 missing/);
  });

  it('is repaired from the copy, exactly; then the design prints', async () => {
    const repaired = await millrace(system.home, 'design', 'repair', id, folder(), '--json');
    expect(repaired.json, repaired.stderr).toMatchObject({ repaired: SEGMENTS });
    expect((await owner.api.design(id)).damage).toBeUndefined();
    const view = await untilEnded(operator, await order(system, operator, licence));
    expect(view).toMatchObject({ state: 'completed' });
    expect(await machineObject(system, objectOf(view))).toMatchObject({ sha256: hashOf(design) });
  });

  it('during a print is named after three sessions that end at it; earlier segments are made', async () => {
    const slow = { kind: 'binary', bytesPerSecond: Math.ceil(rate / 4), name: 'slow.bin' } as const;
    const { design: other } = await store(system, owner, randomDesign(40 * 16_370), slow);
    const print = await order(system, operator, await license(system, owner, other, 1));
    const { progress } = await untilPrint(operator, print, (view) => (view.progress?.acked ?? 0) > 0);
    await inCells(async (cells) => {
      for await (const { index } of cells.outline()) await cells.remove([index]);
    });
    const view = await untilEnded(operator, print);
    expect(view).toMatchObject({ state: 'failed', code: 'E_CELL_MISSING' });
    const made = await machineObject(system, objectOf(view));
    expect(made).toMatchObject({ event: 'failed', code: 'E_CELL_MISSING' });
    // The stream names the damaged segments that it reached, or control all of them if the check was faster. Control
    // gets the code.
    expect(made.reason).toMatch(/segments (of the design: )?\d+(-\d+)?/);
    // The check after a failed print names all of them.
    const damage = await until(async () => (await owner.api.design(other)).damage);
    expect(damage.missing).toEqual(Array.from({ length: 40 }, (_, i) => i));
    expect(made.segments).toBeGreaterThanOrEqual(progress?.acked ?? 0);
    expect(made.segments).toBeLessThan(40);
  });

  it('of one bit is found by a deep check, and only that segment is uploaded again', async () => {
    await inCells(async (cells) => {
      for (const cell of await allCells(cells)) {
        cell.body[9_000] = (cell.body[9_000] ?? 0) ^ 1; // every cell: decoys cannot be told from cells
        await overwriteCell(cells, cell);
      }
    });
    const uploaded: number[] = [];
    const admin = await system.session('admin');
    const check = () => checkVault(admin, true);
    await expect(checkVault(owner, true)).rejects.toMatchObject({ code: 'E_FORBIDDEN' });
    const copy = () => openCopy(folder(), id);
    const counting: Session = {
      ...owner,
      api: {
        ...owner.api,
        upload: (design, segment, sealed) => {
          uploaded.push(segment);
          return owner.api.upload(design, segment, sealed);
        },
      },
    };
    expect(await repairDesign(counting, id, copy, () => undefined, check)).toBe(SEGMENTS);
    expect(uploaded).toEqual(Array.from({ length: SEGMENTS }, (_, i) => i));
    expect(await repairDesign(counting, id, copy, () => undefined, check)).toBe(0);
    const view = await untilEnded(operator, await order(system, operator, licence));
    expect(view).toMatchObject({ state: 'completed' });
  });

  it.each(oneOf(['control', 'distribution', 'segments', 'keys'] as const))(
    'a repair continues when %s is killed',
    async (name) => {
      await inCells(async (cells) => {
        for await (const { index } of cells.outline()) await cells.remove([index]);
      });
      const repaired = millrace(system.home, 'design', 'repair', id, folder(), '--json');
      await sleep(900);
      await system.processes[name].restart();
      const result = await repaired;
      // A check that control or the keys node lost must be requested again. Nothing else is lost.
      if (result.exit !== 0) {
        const again = await millrace(system.home, 'design', 'repair', id, folder(), '--json');
        expect(again.exit, again.stderr).toBe(0);
      }
      expect((await owner.api.design(id)).damage).toBeUndefined();
    },
  );

  it('altered copies are rejected before the upload, and by the vault', async () => {
    const copy = await openCopy(folder(), id);
    const sealed = await copy.read(0);
    await copy.close();
    sealed[5] = (sealed[5] ?? 0) ^ 1;
    await inCells(async (cells) => {
      for await (const { index } of cells.outline()) await cells.remove([index]);
    });
    await owner.api.upload(id, 0, sealed);
    const repair = await owner.api.repair(id, [0]);
    const view = await until(async () => {
      const { repair: now } = await owner.api.design(id);
      return now?.repair === repair && now.state !== 'running' ? now : undefined;
    });
    expect(view).toMatchObject({ state: 'failed', code: 'E_SEGMENT' });
    await expect(operator.api.repair(id, [0])).rejects.toMatchObject({ code: 'E_FORBIDDEN' });
    await expect(owner.api.repair(id, [SEGMENTS])).rejects.toMatchObject({ code: 'E_INPUT' });
    expect(fromHex(id)).toHaveLength(16);
  });

  it('leaves the ledger intact, and the design sound after the repair', async () => {
    await repairDesign(
      owner,
      id,
      () => openCopy(folder(), id),
      () => undefined,
      async () => checkVault(await system.session('admin'), true),
    );
    expect(await owner.api.ledgerCheck()).toMatchObject({ ok: true });
    // The keys node makes the lost decoys again after a check has found them.
    const sound = await until(async () => {
      const { json } = await millrace(system.home, 'vault', 'check', '--deep', '--json');
      const found = (json?.problems ?? []) as { design?: string }[];
      expect(found.filter(({ design }) => design === id)).toEqual([]);
      return found.every(({ design }) => design !== undefined) || undefined;
    });
    expect(sound).toBe(true);
  });
});

async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (let i = 0; i < 400; i++) {
    const seen = await look();
    if (seen !== undefined) return seen;
    await sleep(50);
  }
  throw new Error('it never came');
}
