import * as files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { finishRestoring, layoutOf } from '@millrace/cli/parts';
import { nextEpoch, openPlaybookIn } from '@millrace/cloud/admin';
import { openLmdb } from '@millrace/stores';
import { cli, temporaryFolder, testInstallation } from '@millrace/testkit/cli/helpers';
import { every, first } from '@millrace/testkit/share';
import { CellStore, openFileEngine, prepareDesign, readManifest, segmentHash } from '@millrace/vault';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';

// A backup or restore is interrupted before its 1st, 2nd, … file operation, as by a kill. From then on no file is
// touched any more, not even by cleanup code. MILLRACE_KILLS takes a share of these operations.

const functions = ['open', 'rename', 'rm', 'mkdir', 'cp', 'writeFile'] as const;
const methods = ['write', 'writev', 'writeFile', 'sync', 'datasync', 'truncate'] as const;
const module: Record<string, unknown> = (files as unknown as { default: Record<string, unknown> }).default;
const originals = new Map(functions.map((name) => [name, module[name]]));
let prototype: Record<string, unknown>;
const originalMethods = new Map<string, unknown>();

/** Interrupts before the n-th operation. @returns the number of operations so far */
function cutAt(nth: number): () => number {
  let steps = 0;
  const fused = (original: unknown) =>
    function (this: unknown, ...args: unknown[]) {
      if (++steps >= nth) throw new Error('cut off');
      return (original as (...args: unknown[]) => unknown).apply(this, args);
    };
  for (const [name, original] of originals) module[name] = fused(original);
  for (const [name, original] of originalMethods) prototype[name] = fused(original);
  syncBuiltinESMExports();
  return () => steps;
}

function mend(): void {
  for (const [name, original] of originals) module[name] = original;
  for (const [name, original] of originalMethods) prototype[name] = original;
  syncBuiltinESMExports();
}
afterEach(mend);

let base: string;
let design: string;
const content = Uint8Array.from({ length: 30_000 }, (_, i) => (i * 31 + (i >> 8)) & 255);

beforeAll(async () => {
  const handle = await files.open(import.meta.filename);
  prototype = Object.getPrototypeOf(handle) as Record<string, unknown>;
  await handle.close();
  for (const name of methods) originalMethods.set(name, prototype[name]);
  const { layout } = await testInstallation();
  base = layout.home;
  const folder = layout.node('keys');
  for (const role of ['keys', 'segments', 'control', 'distribution'] as const)
    await files.mkdir(join(layout.node(role), 'data'), { recursive: true });
  const sealed: Uint8Array[] = [];
  const chunks = async function* () {
    yield content;
  };
  const prepared = await prepareDesign(chunks(), {
    kind: 'binary',
    owner: new Uint8Array(33),
    sink: (_, bytes) => void sealed.push(bytes),
    describe: ({ segments }) => ({ times: new Array(segments).fill(1) }),
  });
  design = prepared.designId;
  const manifest = readManifest(prepared.manifest);
  const { playbook, close } = await openPlaybookIn(folder);
  await playbook.addDesign({ manifest: prepared.manifest, keys: prepared.ceks });
  await inCells(layout.home, async (cells) => {
    const id = new Uint8Array(Buffer.from(design, 'hex'));
    const store = await playbook.instruct({ design: id, from: 0, count: manifest.segments });
    if (store === undefined) throw new Error('no places');
    const source = { sealed: (n: number) => sealed[n] ?? content, hash: (n: number) => segmentHash(manifest, n) };
    await playbook.stored(await cells.storeCells(store, source));
    for (let work = await playbook.decoyWork(); work !== undefined; work = await playbook.decoyWork())
      await playbook.stored(await cells.storeCells(work));
  });
  await close();
});

async function inCells<T>(home: string, work: (cells: CellStore) => Promise<T>): Promise<T> {
  const data = join(layoutOf(home).node('segments'), 'data');
  const lmdb = openLmdb({ path: data });
  const engine = await openFileEngine({ lmdb, index: 'cell-index', path: join(data, 'cells.bin') });
  try {
    return await work(new CellStore(engine));
  } finally {
    await engine.close();
    await lmdb.close();
  }
}

/** Checks that the deep check is clean and that the design exists. @returns the epoch */
async function expectSound(home: string): Promise<number> {
  const { playbook, close } = await openPlaybookIn(layoutOf(home).node('keys'));
  try {
    expect(playbook.designs().map((view) => view.design)).toEqual([design]);
    return await inCells(home, async (cells) => {
      for (let left = playbook.status().sweep; left !== undefined; left = playbook.status().sweep) {
        const message = await playbook.nextMaintenance();
        if (message !== undefined) await playbook.maintained(await cells.maintain(message));
      }
      const run = await playbook.beginCheck({ deep: true });
      for (let part = await run?.next(); part !== undefined; part = await run?.next())
        run?.take(await cells.check(part));
      expect(run?.report()).toMatchObject({ clean: true });
      run?.end();
      return playbook.status().epoch;
    });
  } finally {
    await close();
  }
}

async function copyOf(home: string): Promise<string> {
  const copy = join(await temporaryFolder(), 'home');
  await files.cp(home, copy, { recursive: true });
  return copy;
}

const backup = (home: string, ...rest: string[]) => cli(['backup', ...rest, '--json', '--home', home]);

describe('interrupted before every file operation', () => {
  it('a backup leaves a sound vault and either the older or the new backup; the next backup succeeds', {
    timeout: 600_000,
  }, async () => {
    const from = await copyOf(base);
    const older = join(from, 'older.backup');
    expect((await backup(from, 'create', older)).exit).toBe(0);
    let whole = 0;
    let cuts = 0;
    for (let nth = 1 + first, done = false; !done; nth += every) {
      const home = await copyOf(from);
      const [first, second] = [join(home, 'older.backup'), join(home, 'newer.backup')];
      const steps = cutAt(nth);
      const { exit } = await backup(home, 'create', second);
      done = steps() < nth;
      mend();
      expect(exit === 0).toBe(done);
      if (!done) cuts++;
      await files.rm(layoutOf(home).run.lock, { force: true }); // its process is gone
      const epoch = await expectSound(home);
      const there = await files.stat(second).then(
        () => true,
        () => false,
      );
      const restored = await backup(home, 'restore', there ? second : first);
      expect(restored.exit, `${nth}: ${restored.stdout}`).toBe(0);
      if (there) {
        whole++;
        // The vault moves to another epoch before the backup becomes readable.
        expect(await expectSound(home)).toBeLessThan(epoch);
      }
      expect((await backup(home, 'create', second)).exit).toBe(0);
      await files.rm(home, { recursive: true });
    }
    expect(cuts * every).toBeGreaterThan(20);
    expect(whole).toBeGreaterThan(0);
  });

  it('a restore leaves either all previous nodes or all nodes of the backup', { timeout: 600_000 }, async () => {
    const from = await copyOf(base);
    const file = join(from, 'the.backup');
    expect((await backup(from, 'create', file)).exit).toBe(0);
    const later = await nextEpoch({ keys: layoutOf(from).node('keys'), segments: layoutOf(from).node('segments') });
    const epochs = new Set<number>();
    let cuts = 0;
    for (let nth = 1 + first, done = false; !done; nth += every) {
      const home = await copyOf(from);
      const layout = layoutOf(home);
      const steps = cutAt(nth);
      const { exit } = await backup(home, 'restore', join(home, 'the.backup'));
      done = steps() < nth;
      mend();
      expect(exit === 0).toBe(done);
      if (!done) cuts++;
      await finishRestoring(layout); // as `up` does
      expect((await files.readdir(home)).filter((name) => name.startsWith('.restor'))).toEqual([]);
      expect((await files.readdir(join(home, 'nodes'))).sort()).toEqual([
        'control',
        'distribution',
        'keys',
        'segments',
      ]);
      epochs.add(await expectSound(home));
      await files.rm(layout.run.lock, { force: true });
      expect((await backup(home, 'restore', join(home, 'the.backup'))).exit).toBe(0);
      await files.rm(home, { recursive: true });
    }
    expect(cuts * every).toBeGreaterThan(20);
    expect(epochs).toEqual(new Set([later, later - 2])); // the current epoch or the backup's, and both occurred
  });
});
