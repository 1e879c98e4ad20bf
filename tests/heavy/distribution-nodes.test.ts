import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '@millrace/base';
import { nodeFiles, retireNode, spread } from '@millrace/cli/parts';
import { type Session, storeDesign } from '@millrace/client';
import { prepareFile } from '@millrace/client/node';
import { nodesInOrder } from '@millrace/protocol';
import type { AddedNode } from '@millrace/testkit/added-nodes';
import { millrace } from '@millrace/testkit/cli';
import { noisyGcode } from '@millrace/testkit/designs';
import { license, machineObject, objectOf, order, store, untilEnded, untilPrint } from '@millrace/testkit/job';
import { factorFor } from '@millrace/testkit/pace';
import type { Managed } from '@millrace/testkit/process';
import { processesOf } from '@millrace/testkit/rotation';
import { addDistribution } from '@millrace/testkit/second-distribution';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';

// Two distribution nodes: real processes, killed and frozen while a machine prints and while an owner uploads.

const part = noisyGcode(300_000);
let system: TestInstallation;
let second: AddedNode;
let owner: Session;
let operator: Session;
let licence: string;
/** Distribution nodes by their port. */
const nodes = new Map<number, Managed>();
const figures: Record<string, number> = {};

beforeAll(async () => {
  system = await createTestInstallation({
    machine: { factor: await factorFor(part, 40) },
    maintenance: { periodMs: 5_000, density: 50 },
  });
  second = await addDistribution(system, 'distribution-2');
  await second.process.start();
  nodes.set(system.addresses.distribution.port, system.processes.distribution);
  nodes.set(second.address.port, second.process);
  owner = await system.session('owner');
  operator = await system.session('operator');
  const stored = await store(system, owner, part);
  licence = await license(system, owner, stored.design, 3);
}, 180_000);
afterAll(async () => {
  await Promise.all([...nodes.values()].map((node) => node.kill()));
  await system?.close();
  console.log(`distribution nodes, seconds: ${JSON.stringify(figures)}`);
});

/** The node to which the machine has connected last, and how often it has connected. */
async function connected() {
  const found = [...(await system.log('machine')).matchAll(/"at":"127\.0\.0\.1:(\d+)"/g)];
  const node = nodes.get(Number(found.at(-1)?.[1]));
  if (node === undefined) throw new Error('the machine has connected to no node');
  return { node, times: found.length };
}

const acked = async (print: string) => (await operator.api.print(print)).progress?.acked ?? 0;

/** Seconds until the machine has connected to another node, and until it has taken more than it can have buffered. */
async function recovery(print: string, name: string, fail: (node: Managed) => Promise<void> | void) {
  const before = await connected();
  const taken = await acked(print);
  const began = performance.now();
  await fail(before.node);
  const since = () => Math.round((performance.now() - began) / 100) / 10;
  const now = await vi.waitFor(
    async () => {
      const after = await connected();
      expect(after.times).toBeGreaterThan(before.times);
      expect(after.node).not.toBe(before.node);
      return after;
    },
    { timeout: 60_000, interval: 50 },
  );
  figures[`${name}: connected`] = since();
  // Control hears of progress only through segments and the node that is now in use.
  await untilPrint(operator, print, ({ state, progress }) => state !== 'running' || (progress?.acked ?? 0) > taken + 1);
  figures[`${name}: streaming`] = since();
  return { failed: before.node, now: now.node };
}

async function expectOnePart(print: string): Promise<void> {
  const view = await untilEnded(operator, print, 120_000);
  expect(view).toMatchObject({ state: 'completed' });
  expect((await machineObject(system, objectOf(view))).starvedSeconds).toBeLessThan(60);
  const made = (await owner.api.objects()).filter(({ object }) => object === objectOf(view));
  expect(made).toHaveLength(1);
  const out = join(system.scratch, `${print}.certificate`);
  for (const command of [
    ['export', objectOf(view), '--out', out],
    ['verify', out],
  ]) {
    const done = await millrace(system.home, 'certificate', ...command);
    expect(done.stderr).toBe('');
  }
}

it('a print goes on at the other node when its node is killed, and when it is frozen', async () => {
  const print = await order(system, operator, licence);
  await untilPrint(operator, print, ({ progress }) => (progress?.acked ?? 0) > 0);
  const { failed, now } = await recovery(print, 'killed', (node) => node.kill());
  await failed.start();
  const frozen = await recovery(print, 'frozen', (node) => node.signal('SIGSTOP'));
  expect(frozen.failed).toBe(now);
  await expectOnePart(print);
  frozen.failed.signal('SIGCONT');
}, 240_000);

const fails = {
  killed: (node: Managed) => node.kill(),
  frozen: async (node: Managed) => node.signal('SIGSTOP'),
};

it.each(['killed', 'frozen'] as const)(
  'an upload goes on at the other node when its node is %s',
  async (how) => {
    const content = noisyGcode(how === 'killed' ? 6_000_000 : 6_000_001);
    const file = join(system.scratch, `${how}.gcode`);
    await writeFile(file, content);
    const prepared = await prepareFile(owner, file, {}, () => undefined);
    const [first] = nodesInOrder(system.installation.directory, 'distribution', prepared.state.design);
    const node = nodes.get(first?.addresses[0]?.port ?? 0) as Managed;
    let failing: Promise<void> | undefined;
    let began = 0;
    const stored = await storeDesign(owner, prepared, (step, done, total) => {
      if (failing !== undefined || step !== 'uploading' || done < total / 3) return;
      began = performance.now();
      failing = fails[how](node);
    });
    expect(failing).toBeDefined();
    expect(stored).toMatchObject({ state: 'stored' });
    figures[`upload, ${how}`] = Math.round((performance.now() - began) / 100) / 10;
    if (how === 'killed') await node.start();
    else node.signal('SIGCONT');
    // What was staged at both nodes is wiped.
    const folders = [folderOf(system.installation, 'distribution'), second.folder];
    await vi.waitFor(
      async () => {
        for (const folder of folders) expect(await readdir(join(folder, nodeFiles.data, 'uploads'))).toEqual([]);
      },
      { timeout: 90_000, interval: 500 },
    );
  },
  240_000,
);

it('a node that was retired and goes on answering has no machine and no upload', async () => {
  const print = await order(system, operator, licence);
  await untilPrint(operator, print, ({ progress }) => (progress?.acked ?? 0) > 0);
  await recovery(print, 'retired', async (node) => {
    const id = node === system.processes.distribution ? 'distribution-1' : 'distribution-2';
    await retireNode(system.home, id, systemClock);
    await system.installation.directories.refresh();
    await spread(system.installation, processesOf(system), systemClock);
  });
  await expectOnePart(print);
  expect(await store(system, owner, noisyGcode(40_000), { name: 'later.gcode' })).toMatchObject({ state: 'stored' });
}, 240_000);
