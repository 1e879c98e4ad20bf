import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compareBytes, toHex } from '@millrace/base';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BATCH, batchWrites, KEPT } from '../src/compliance/index.ts';
import { openEnvironment } from '../src/lmdb.ts';
import { temporaryFolder } from './harness.ts';

const program = fileURLToPath(new URL('../dist/compliance/crash-writer.js', import.meta.url));

interface Run {
  readonly acknowledged: number;
  readonly lines: readonly string[];
}

/** Runs the writer, and kills it after `acknowledged` batches, or lets it finish. */
async function runWriter(child: ChildProcess, killAt: number): Promise<Run> {
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    if (text.split('done ').length - 1 >= killAt) child.kill('SIGKILL');
  });
  await new Promise((resolve) => child.on('close', resolve));
  const lines = text.split('\n').slice(0, -1);
  return { acknowledged: lines.filter((line) => line.startsWith('done')).length, lines };
}

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
  expect(existsSync(program), 'built first: npx tsc -b packages/stores').toBe(true);
});
afterEach(() => folder.remove());

/** The number of batches in the store. Fails unless the store is exactly in the state after a whole batch. */
async function wholeBatches(size: number): Promise<number> {
  const lmdb = openEnvironment({ path: folder.path });
  try {
    const found = new Map<string, Uint8Array>();
    let last = -1;
    for await (const { key, value } of lmdb.store('crash').range()) {
      found.set(toHex(key), value);
      last = new DataView(key.buffer, key.byteOffset).getUint32(0);
    }
    for (let n = Math.max(0, last - KEPT + 1); n <= last; n++) {
      for (const write of batchWrites(n, size)) {
        if (!('put' in write)) continue;
        const value = found.get(toHex(write.put));
        expect(value !== undefined && compareBytes(value, write.value) === 0, `batch ${n} of ${last}`).toBe(true);
      }
    }
    expect(found.size, 'nothing of older or half batches').toBe(BATCH * Math.min(last + 1, KEPT));
    return last + 1;
  } finally {
    await lmdb.close();
  }
}

describe('LMDB after SIGKILL', () => {
  it.each([1, 2, 9, 33, 120])('after %i acknowledged batches: has all of them, and none partly', async (killAt) => {
    const run = await runWriter(
      spawn(process.execPath, [program, folder.path, '5000'], { stdio: ['ignore', 'pipe', 'inherit'] }),
      killAt,
    );
    expect(run.lines.at(-1)).not.toBe('closed');
    expect(await wholeBatches(5000)).toBeGreaterThanOrEqual(run.acknowledged);
  });

  it('repeatedly over the same folder', async () => {
    let before = 0;
    for (const killAt of [5, 3, 8]) {
      const run = await runWriter(
        spawn(process.execPath, [program, folder.path, '2000'], { stdio: ['ignore', 'pipe', 'inherit'] }),
        killAt,
      );
      expect(run.acknowledged).toBeGreaterThanOrEqual(killAt);
      // The writer starts again at batch 0, so the newest batch is the last of the longest run.
      const now = await afterRestart(before);
      expect(now).toBeGreaterThanOrEqual(run.acknowledged);
      before = now;
    }
  });
});

async function afterRestart(before: number): Promise<number> {
  const lmdb = openEnvironment({ path: folder.path });
  try {
    const counts = new Map<number, number>();
    for await (const { key } of lmdb.store('crash').range()) {
      const n = new DataView(key.buffer, key.byteOffset).getUint32(0);
      counts.set(n, (counts.get(n) ?? 0) + 1);
    }
    expect(
      [...counts.values()].every((count) => count === BATCH),
      'no half batch',
    ).toBe(true);
    return Math.max(before, ...counts.keys()) + 1;
  } finally {
    await lmdb.close();
  }
}
