import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { sleep } from '@millrace/base';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Session } from '../../packages/cli/src/client/session.ts';
import { millrace } from '../support/cli.ts';
import { randomDesign } from '../support/designs.ts';
import { store } from '../support/job.ts';
import { createWorld, folderOf, type World } from '../support/world.ts';

// A limit on the size of files stands for a full disk: it needs no privileges, can be set for a running process, and the
// system answers a write past it in the same way, cut short.

let world: World;
let owner: Session;
const options = { kind: 'binary', bytesPerSecond: 100_000 } as const;

beforeAll(async () => {
  world = await createWorld({ maintenance: { periodMs: 1_000, density: 50 } });
  owner = await world.session('owner');
});
afterAll(() => world?.close());

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
  it.each(['control', 'distribution', 'segments', 'keys'] as const)(
    'of %s: a coded error, and everything goes on when there is room',
    async (name) => {
      const kept = await store(world, owner, randomDesign(3 * 16_370), { name: `${name}-kept.bin`, ...options });
      const data = join(folderOf(world.installation, name), 'data');
      const before = (await world.log(name)).length;
      limit(world.processes[name].pid, name === 'distribution' ? 8_192 : Math.max(8_192, largest(data)));
      // A store has some room ahead: control and keys need a long manifest to fill it.
      const segments = name === 'control' || name === 'keys' ? 2_000 : 120;
      const storing = store(world, owner, randomDesign(segments * 16_370), {
        name: `${name}-late.bin`,
        ...options,
      }).then(
        (view) => view,
        (error: unknown) => error,
      );
      try {
        for (let i = 0; !/E_DISK_FULL|EFBIG/.test((await world.log(name)).slice(before)); i++) {
          expect(i, 'it was told').toBeLessThan(400);
          await sleep(50);
        }
      } finally {
        limit(world.processes[name].pid, 'unlimited');
      }
      const late = await storing;
      // The owner's command went on by itself, or ended with the code and is given again.
      if (late instanceof Error) {
        expect(late).toMatchObject({ code: expect.stringMatching(/^E_(DISK_FULL|STORE|UPLOAD|TIMEOUT|UNAVAILABLE)$/) });
      } else {
        expect(late).toMatchObject({ state: 'stored' });
      }
      expect(await owner.api.design(kept.design)).toMatchObject({ state: 'stored' });
      const check = await millrace(world.home, 'vault', 'check', '--deep', '--json');
      const problems = (check.json?.problems ?? []) as { design?: string }[];
      expect(problems.filter(({ design }) => design === kept.design)).toEqual([]);
    },
  );
});

describe('a corrupted page', () => {
  it('of the cells is found by the deep check, and named', async () => {
    const { design, segments } = await store(world, owner, randomDesign(40 * 16_370), { name: 'bad.bin', ...options });
    await world.processes.segments.kill();
    const file = join(folderOf(world.installation, 'segments'), 'data', 'cells.bin');
    const handle = openSync(file, 'r+');
    const noise = new Uint8Array(4_096).fill(0x5a);
    for (let at = 0; at + 4_096 <= statSync(file).size; at += 16_384)
      writeSync(handle, noise, 0, noise.length, at + 4_096);
    closeSync(handle);
    await world.processes.segments.start();
    const check = await millrace(world.home, 'vault', 'check', '--deep', '--json');
    expect(check.exit).toBe(6);
    const damage = (await owner.api.design(design)).damage;
    expect(damage?.damaged).toEqual(Array.from({ length: segments }, (_, i) => i));
  });

  it('of a node’s store keeps the node from starting, with a code', async () => {
    await world.processes.keys.kill();
    const file = join(folderOf(world.installation, 'keys'), 'data', 'data.mdb');
    const handle = openSync(file, 'r+');
    writeSync(handle, new Uint8Array(8_192).fill(0x5a), 0, 8_192, 0);
    closeSync(handle);
    await expect(world.processes.keys.start()).rejects.toThrow(/ended \(\d+\)/);
    expect(await world.log('keys')).toMatch(/E_STORE/);
  });
});
