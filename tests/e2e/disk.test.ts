import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, statSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { sleep } from '@millrace/base';
import type { Session } from '@millrace/client';
import { millrace } from '@millrace/testkit/cli';
import { randomDesign } from '@millrace/testkit/designs';
import { store } from '@millrace/testkit/job';
import { oneOf } from '@millrace/testkit/share';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// A file-size limit stands for a full disk: it needs no privileges, can be set for a running process, and the system
// cuts a write beyond it short, as on a full disk.

let system: TestInstallation;
let owner: Session;
const options = { kind: 'binary', bytesPerSecond: 100_000 } as const;

beforeAll(async () => {
  system = await createTestInstallation({ maintenance: { periodMs: 1_000, density: 50 } });
  owner = await system.session('owner');
});
afterAll(() => system?.close());

function limit(pid: number, bytes: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', String(pid), `--fsize=${bytes}:unlimited`]);
}

function largest(folder: string): number {
  const sizes = readdirSync(folder, { withFileTypes: true }).map((entry) =>
    entry.isDirectory() ? largest(join(folder, entry.name)) : statSync(join(folder, entry.name)).size,
  );
  return Math.max(0, ...sizes);
}

describe('a full disk', () => {
  it.each(oneOf(['control', 'distribution', 'segments', 'keys'] as const))(
    'of %s: a coded error, and work continues when there is space',
    async (name) => {
      const kept = await store(system, owner, randomDesign(3 * 16_370), { name: `${name}-kept.bin`, ...options });
      const data = join(folderOf(system.installation, name), 'data');
      const before = (await system.log(name)).length;
      limit(system.processes[name].pid, name === 'distribution' ? 8_192 : Math.max(8_192, largest(data)));
      // A store has some free space in advance. Control and keys need a long manifest to fill it.
      const segments = name === 'control' || name === 'keys' ? 2_000 : 120;
      const storing = store(system, owner, randomDesign(segments * 16_370), {
        name: `${name}-late.bin`,
        ...options,
      }).then(
        (view) => view,
        (error: unknown) => error,
      );
      try {
        for (let i = 0; !/E_DISK_FULL|EFBIG/.test((await system.log(name)).slice(before)); i++) {
          expect(i, 'it was told').toBeLessThan(400);
          await sleep(50);
        }
      } finally {
        limit(system.processes[name].pid, 'unlimited');
      }
      const late = await storing;
      // The owner's command either continued by itself, or ended with the code and is repeated.
      if (late instanceof Error) {
        expect(late).toMatchObject({ code: expect.stringMatching(/^E_(DISK_FULL|STORE|UPLOAD|TIMEOUT|UNAVAILABLE)$/) });
      } else {
        expect(late).toMatchObject({ state: 'stored' });
      }
      expect(await owner.api.design(kept.design)).toMatchObject({ state: 'stored' });
      const check = await millrace(system.home, 'vault', 'check', '--deep', '--json');
      const problems = (check.json?.problems ?? []) as { design?: string }[];
      expect(problems.filter(({ design }) => design === kept.design)).toEqual([]);
    },
  );
});

/** Makes a path unwritable, for root too, where the file system supports the flag. */
function freeze(path: string, frozen: boolean): boolean {
  return spawnSync('chattr', [frozen ? '+i' : '-i', path], { stdio: 'ignore' }).status === 0;
}

describe('a disk that cannot be written', () => {
  it('under the cells: a coded error; storing waits and continues when the disk is writable again', async () => {
    const kept = await store(system, owner, randomDesign(3 * 16_370), { name: 'before.bin', ...options });
    const cells = join(folderOf(system.installation, 'segments'), 'data', 'cells.bin');
    const before = (await system.log('segments')).length;
    if (!freeze(cells, true)) return notChecked('a file cannot be made immutable here (chattr +i)');
    let storing: Promise<unknown>;
    try {
      storing = store(system, owner, randomDesign(20 * 16_370), { name: 'during.bin', ...options });
      storing.catch(() => undefined);
      for (let i = 0; !(await system.log('segments')).slice(before).includes('E_READ_ONLY'); i++) {
        expect(i, 'it was told').toBeLessThan(400);
        await sleep(50);
      }
    } finally {
      freeze(cells, false);
    }
    expect(await storing).toMatchObject({ state: 'stored' });
    expect(await owner.api.design(kept.design)).toMatchObject({ state: 'stored' });
    await expectSound(kept.design);
  });

  it.each(oneOf(['control', 'segments', 'keys', 'distribution'] as const))(
    'under %s at its start: it exits with an error; nothing is lost when the disk is writable again',
    async (name) => {
      const kept = await store(system, owner, randomDesign(3 * 16_370), { name: `${name}-ro.bin`, ...options });
      await system.processes[name].kill();
      const data = join(folderOf(system.installation, name), 'data');
      const frozen = name === 'distribution' ? join(data, 'uploads') : join(data, 'data.mdb');
      const before = (await system.log(name)).length;
      try {
        if (!freeze(frozen, true)) {
          notChecked('a file cannot be made immutable here (chattr +i)');
        } else if (name === 'distribution') {
          // It writes nothing until somebody uploads.
          await system.processes[name].start();
          const late = owner.api.upload(kept.design, 0, randomDesign(16_386));
          await expect(late).rejects.toMatchObject({ code: 'E_READ_ONLY' });
          await system.processes[name].kill();
        } else {
          await expect(system.processes[name].start()).rejects.toThrow(/ended \(\d+\)/);
          expect((await system.log(name)).slice(before)).toMatch(/E_READ_ONLY/);
        }
      } finally {
        freeze(frozen, false);
      }
      await system.processes[name].start();
      await expectSound(kept.design);
    },
  );
});

describe('a truncated cell file', () => {
  it('does not prevent the node’s start; the check names missing cells, and a repair restores them', async () => {
    const file = join(system.scratch, 'cut.bin');
    const copy = join(system.scratch, 'copy of cut');
    writeFileSync(file, randomDesign(40 * 16_370));
    const added = await millrace(system.home, 'design', 'add', file, '--rate', '100000', '--keep', copy, '--json');
    expect(added.exit, added.stderr).toBe(0);
    const { design } = added.json as { design: string };
    await system.processes.segments.kill();
    const cells = join(folderOf(system.installation, 'segments'), 'data', 'cells.bin');
    truncateSync(cells, 5 * 16_384 + 1_000); // most of the design's cells are lost, wherever they were
    await system.processes.segments.start();
    expect(await system.log('segments')).toMatch(/cell file is truncated/);
    // A check that is not deep finds them: it compares places.
    const check = await millrace(system.home, 'vault', 'check', '--json');
    expect(check.exit).toBe(6);
    const missing = (await owner.api.design(design)).damage?.missing.length ?? 0;
    expect(missing).toBeGreaterThan(30);
    const repaired = await millrace(system.home, 'design', 'repair', design, copy, '--json');
    expect(repaired.exit, repaired.stderr).toBe(0);
    expect((repaired.json as { repaired: number }).repaired).toBeGreaterThanOrEqual(missing);
    await expectSound(design);
  });
});

function notChecked(why: string): void {
  process.stdout.write(`E_READ_ONLY was not checked: ${why}\n`);
}

async function expectSound(design: string): Promise<void> {
  const check = await millrace(system.home, 'vault', 'check', '--deep', '--json');
  const problems = (check.json?.problems ?? []) as { design?: string }[];
  expect(problems.filter((problem) => problem.design === design)).toEqual([]);
  expect((await owner.api.design(design)).damage).toBeUndefined();
}

describe('a corrupted page', () => {
  it('with cells is found and named by the deep check', async () => {
    const { design, segments } = await store(system, owner, randomDesign(40 * 16_370), { name: 'bad.bin', ...options });
    await system.processes.segments.kill();
    const file = join(folderOf(system.installation, 'segments'), 'data', 'cells.bin');
    const handle = openSync(file, 'r+');
    const noise = new Uint8Array(4_096).fill(0x5a);
    for (let at = 0; at + 4_096 <= statSync(file).size; at += 16_384)
      writeSync(handle, noise, 0, noise.length, at + 4_096);
    closeSync(handle);
    await system.processes.segments.start();
    const check = await millrace(system.home, 'vault', 'check', '--deep', '--json');
    expect(check.exit).toBe(6);
    const damage = (await owner.api.design(design)).damage;
    expect(damage?.damaged).toEqual(Array.from({ length: segments }, (_, i) => i));
  });

  it('in a node’s store prevents its start, with a code', async () => {
    await system.processes.keys.kill();
    const file = join(folderOf(system.installation, 'keys'), 'data', 'data.mdb');
    const handle = openSync(file, 'r+');
    writeSync(handle, new Uint8Array(8_192).fill(0x5a), 0, 8_192, 0);
    closeSync(handle);
    await expect(system.processes.keys.start()).rejects.toThrow(/ended \(\d+\)/);
    expect(await system.log('keys')).toMatch(/E_STORE/);
  });
});
