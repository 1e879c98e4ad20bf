import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { sleep } from '@millrace/base';
import type { InstallationSession } from '@millrace/cli';
import { millrace } from '@millrace/testkit/cli';
import { randomDesign } from '@millrace/testkit/designs';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { shareOf } from '@millrace/testkit/share';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// A client killed with SIGKILL while it seals and uploads continues when it is run again. So do the nodes while they
// store. The moment is read from the disks: bytes sealed, segments staged. MILLRACE_KILLS takes a share of the moments.

const SEGMENTS = 400;
const BYTES = SEGMENTS * 16_370 - 7;
const RATE = 20_000_000;
const program = fileURLToPath(new URL('../../packages/cli/dist/program/main.js', import.meta.url));

let system: TestInstallation;
let owner: InstallationSession;
let operator: InstallationSession;
let uploads: string;
let staging: string;
beforeAll(async () => {
  system = await createTestInstallation({
    machine: { kind: 'sink', factor: 1, bytesPerSecond: RATE },
    maintenance: { periodMs: 3_000, density: 100 },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
  uploads = join(owner.user.folder, 'uploads');
  staging = join(folderOf(system.installation, 'distribution'), 'data', 'uploads');
});
afterAll(() => system?.close());

const entries = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

/** The number of sealed segments on the client's disk in an incomplete preparation. */
function sealing(): number {
  for (const name of entries(uploads)) {
    const file = join(uploads, name, 'segments');
    if (name.startsWith('.preparing-') && existsSync(file)) return Math.floor(statSync(file).size / 16_386);
  }
  return -1;
}

/** The names of the complete preparations. */
const prepared = (): string[] => entries(uploads).filter((name) => /^[0-9a-f]{32}$/.test(name));

const staged = (): number =>
  entries(staging)
    .filter((name) => !name.startsWith('.'))
    .reduce((sum, name) => sum + entries(join(staging, name)).filter((file) => /^\d+$/.test(file)).length, 0);

const wiping = (): boolean => entries(staging).some((name) => name.startsWith('.wiping-'));

async function until(reached: () => boolean): Promise<void> {
  const end = performance.now() + 30_000;
  while (!reached()) {
    if (performance.now() > end) throw new Error('the moment did not come');
    await turn();
  }
}

function startAdding(file: string): ChildProcess {
  const argv = [program, 'design', 'add', file, '--rate', String(RATE), '--json', '--home', system.home];
  return spawn(process.execPath, argv, { stdio: 'ignore' });
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => child.once('close', () => resolve()));
}

async function expectMade(design: string, content: Uint8Array): Promise<void> {
  const licence = await license(system, owner, design, 1);
  const view = await untilEnded(operator, await order(system, operator, licence));
  expect(view.state).toBe('completed');
  expect(await machineObject(system, objectOf(view))).toMatchObject({ sha256: hashOf(content) });
}

async function expectNothingStaged(): Promise<void> {
  await expect.poll(() => entries(staging), { timeout: 20_000 }).toEqual([]);
  expect(entries(uploads)).toEqual([]);
}

const moments: readonly (readonly [string, () => boolean])[] = [
  ['before it seals', () => existsSync(uploads) && sealing() >= 0],
  ['with the first segment sealed', () => sealing() >= 1],
  ['in the middle of sealing', () => sealing() >= SEGMENTS / 2],
  ['when all is sealed', () => sealing() >= SEGMENTS - 8 || prepared().length > 0],
  ['when it has written what it sealed', () => prepared().length > 0],
  ['with the first segment uploaded', () => staged() >= 1],
  ['in the middle of uploading', () => staged() >= SEGMENTS / 2],
  ['with nearly all uploaded', () => staged() >= SEGMENTS - 8],
];

describe('a killed client', () => {
  it.each(shareOf(moments))('%s continues when it is run again', async (name, reached) => {
    const content = randomDesign(BYTES);
    const file = join(system.scratch, `${name}.bin`);
    writeFileSync(file, content);
    const before = (await owner.api.designs()).length;
    const child = startAdding(file);
    const gone = ended(child);
    await until(reached);
    child.kill('SIGKILL');
    await gone;
    const left = prepared();
    const again = await millrace(system.home, 'design', 'add', file, '--rate', String(RATE), '--json');
    expect(again.exit, again.stderr).toBe(0);
    const { design, state } = again.json as { design: string; state: string };
    expect(state).toBe('stored');
    // A complete preparation is not sealed again: same keys, same design.
    if (left.length > 0) expect(design).toBe(left[0]);
    expect((await owner.api.designs()).length).toBe(before + 1);
    await expectNothingStaged();
    await expectMade(design, content);
  });

  it('killed repeatedly at random moments ends with one design', async () => {
    const content = randomDesign(BYTES);
    const file = join(system.scratch, 'unlucky.bin');
    writeFileSync(file, content);
    const before = (await owner.api.designs()).length;
    for (let kill = 0; kill < 8; kill += 1) {
      const child = startAdding(file);
      const gone = ended(child);
      await sleep(300 + 170 * kill);
      child.kill('SIGKILL');
      await gone;
    }
    // If the design was stored just before the kill, there is nothing to resume, and it is added once more.
    const again = await millrace(system.home, 'design', 'add', file, '--rate', String(RATE), '--json');
    expect(again.exit, again.stderr).toBe(0);
    const designs = (await owner.api.designs()).slice(before);
    expect(designs.length).toBeGreaterThanOrEqual(1);
    for (const { state } of designs) expect(state).toBe('stored');
    await expectNothingStaged();
    await expectMade((again.json as { design: string }).design, content);
  });
});

describe('a killed node', () => {
  const nodeMoments = [
    ['distribution', 'while it takes segments', () => staged() >= SEGMENTS / 3],
    ['distribution', 'while it wipes them', wiping],
    ['segments', 'while it wipes them', wiping],
    ['control', 'while segments are uploaded', () => staged() >= SEGMENTS / 3],
  ] as const;
  it.each(shareOf(nodeMoments))('%s, %s: the design is stored and nothing is left behind', async (name, _, reached) => {
    const content = randomDesign(BYTES);
    const storing = store(system, owner, content, { name: 'part.bin', kind: 'binary', bytesPerSecond: RATE });
    storing.catch(() => undefined);
    await until(reached);
    await system.processes[name].restart();
    const view = await storing;
    expect(view).toMatchObject({ state: 'stored' });
    await expectNothingStaged();
    await expectMade(view.design, content);
  });

  const storing = (['distribution', 'segments', 'keys'] as const).flatMap((name) =>
    [20, 170, 320].map((after) => ({ name, after })),
  );
  it.each(shareOf(storing))('$name, $after ms after all is staged', async ({ name, after }) => {
    const content = randomDesign(BYTES);
    const stored = store(system, owner, content, { name: 'part.bin', kind: 'binary', bytesPerSecond: RATE });
    stored.catch(() => undefined);
    await until(() => staged() >= SEGMENTS);
    await sleep(after);
    await system.processes[name].restart();
    const view = await stored;
    expect(view).toMatchObject({ state: 'stored' });
    await expectNothingStaged();
    await expectMade(view.design, content);
  });

  it('leaves a vault that checks clean', async () => {
    const check = await millrace(system.home, 'vault', 'check', '--deep', '--json', '--user', 'admin');
    expect(check.exit, check.stdout).toBe(0);
  });
});
