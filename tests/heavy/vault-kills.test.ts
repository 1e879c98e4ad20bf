import { spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openLmdb } from '@millrace/stores';
import { decodeRecord, openEnvironment } from '@millrace/stores/parts';
import { every, first } from '@millrace/testkit/share';
import { overwriteCell } from '@millrace/testkit/vault/cells';
import { contentOf, LOST, openDiskVault, SEGMENTS, type Task, tasks } from '@millrace/testkit/vault/disk-vault.mjs';
import * as vault from '@millrace/vault';
import { SLOT_BYTES } from '@millrace/vault/parts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// A process over LMDB and files is killed with SIGKILL before its 1st, 2nd, … durable step, until a run has fewer.
// MILLRACE_KILLS takes a share of these steps.

const program = fileURLToPath(new URL('../../packages/vault/test/crash-child.mjs', import.meta.url));
let scratch: string;
let damaged: string;
let whole: string;

const open = (folder: string) => openDiskVault({ vault, openLmdb, folder });

beforeAll(async () => {
  const built = existsSync(fileURLToPath(new URL('../../packages/vault/dist/index.js', import.meta.url)));
  expect(built, 'built first: npx tsc -b packages/vault').toBe(true);
  scratch = mkdtempSync(join(tmpdir(), 'millrace vault kills-'));
  whole = join(scratch, 'whole');
  const first = await open(whole);
  await first.prepare('rekeyed', 'rekey');
  await first.prepare('masked', 'delta');
  await first.prepare('of points', 'key-homomorphic');
  await first.prepare('late', 'rekey');
  await first.store('rekeyed');
  await first.store('masked');
  await first.store('of points');
  await first.close();
  damaged = join(scratch, 'damaged');
  cpSync(whole, damaged, { recursive: true });
  const second = await open(damaged);
  const { designId } = await second.upload('rekeyed');
  const places = await second.playbook.slice(designId, 0, SEGMENTS);
  await second.cells.forget(places[LOST[0] ?? 0]?.index ?? new Uint8Array());
  const index = places[LOST[1] ?? 0]?.index ?? new Uint8Array();
  const cell = await second.file.get(index);
  if (cell === undefined) throw new Error('no cell to damage');
  cell.body.set([1, 2, 3], 9_000);
  await overwriteCell(second.file, { index, ...cell });
  await second.close();
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function run(folder: string, task: string, nth: number): Promise<{ signal: string | null; out: string; err: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, folder, task, String(nth)]);
    let [out, err] = ['', ''];
    child.stdout.on('data', (data) => {
      out += data;
    });
    child.stderr.on('data', (data) => {
      err += data;
    });
    child.on('error', reject);
    child.on('close', (_, signal) => resolve({ signal, out, err }));
  });
}

/** Overwrites slots that no index entry names: a killed write may have left anything there, and it must not matter. */
async function fillFreeSlots(folder: string): Promise<void> {
  const path = join(folder, 'cells.bin');
  const bytes = readFileSync(path);
  const lmdb = openEnvironment({ path: join(folder, 'cells') });
  const taken = new Set<number>();
  for await (const { value } of lmdb.store('cells').range()) {
    const record = decodeRecord(value);
    if ('slot' in record) taken.add(record.slot);
  }
  await lmdb.close();
  for (let slot = 0; slot * SLOT_BYTES < bytes.length; slot++)
    if (!taken.has(slot)) randomFillSync(bytes.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES));
  // A killed write may also have lengthened the file by part of a slot.
  writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(5_000, 7)]));
}

async function expectSound(folder: string, task: Task): Promise<void> {
  await fillFreeSlots(folder);
  const left = await open(folder);
  try {
    const repairing = task.startsWith('repair');
    const { designId } = await left.upload('rekeyed');
    const deleted = task === 'delete' && !left.playbook.designs().some(({ design }) => design === designId);
    // Before any repair. Of a sweep at most the message in flight is repeated.
    let report = await left.check();
    if (report === undefined) {
      await left.sweepStep();
      report = await left.check();
    }
    expect(report).toBeDefined();
    for (const problem of report?.problems ?? []) {
      expect(repairing && problem, JSON.stringify(problem)).toMatchObject({ design: designId });
      for (const segment of ('segments' in problem && problem.segments) || [-1]) expect(LOST).toContain(segment);
    }
    expect(await left.read('masked')).toEqual(contentOf('masked'));
    if (!repairing && !deleted) expect(await left.read('rekeyed')).toEqual(contentOf('rekeyed'));
    // What was lost before stays lost until it is repaired, and nothing else is lost.
    await tasks[task](left);
    while (left.playbook.status().sweep !== undefined) await left.sweepStep();
    for (const { design, segment } of left.lost) {
      expect(repairing && design).toBe(designId);
      expect(LOST).toContain(segment);
    }
    const after = await left.check();
    expect(after).toMatchObject({ clean: true, problems: [] });
    expect(await left.countCells()).toBe(after?.cells);
    const names = { store: ['rekeyed', 'late'], delete: [] } as Record<string, string[]>;
    const wanted = ['masked', 'of points', ...(names[task.split(' ')[0] ?? ''] ?? ['rekeyed'])];
    expect(left.playbook.designs()).toHaveLength(wanted.length);
    for (const name of wanted) expect(await left.read(name), name).toEqual(contentOf(name));
  } finally {
    await left.close();
  }
}

describe('SIGKILL before every durable step: no data is lost, no new problem is found, the task completes', () => {
  it.each(Object.keys(tasks) as Task[])('%s', { timeout: 180_000 }, async (task) => {
    const from = task.startsWith('repair') ? damaged : whole;
    let [next, reached] = [1 + first, false];
    let steps: string[] = [];
    const lane = async () => {
      while (!reached) {
        const nth = next;
        next += every;
        const folder = join(scratch, `${task} ${nth}`);
        cpSync(from, folder, { recursive: true });
        const { signal, out, err } = await run(folder, task, nth);
        expect(err).toBe('');
        if (signal !== 'SIGKILL') {
          reached = true;
          steps = JSON.parse(out);
        }
        await expectSound(folder, task);
        rmSync(folder, { recursive: true });
      }
    };
    // Another run's results are checked while one process starts.
    await Promise.all([lane(), lane()]);
    expect(new Set(steps)).toEqual(new Set(expected(task)));
    expect(next - every).toBeGreaterThan(steps.length);
  });
});

/** The kinds of steps that a task must include, so that every file is covered. */
function expected(task: string): string[] {
  const sweeps = task !== 'store' && task !== 'repair';
  return ['playbook', 'index', 'file', ...(sweeps ? ['thread'] : [])];
}
