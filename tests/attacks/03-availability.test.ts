import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep } from '@millrace/base';
import { nodeFiles, nodeRoles } from '@millrace/cli/parts';
import type { Session } from '@millrace/client';
import { millrace } from '@millrace/testkit/cli';
import { randomDesign } from '@millrace/testkit/designs';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { oneOf } from '@millrace/testkit/share';
import {
  createTestInstallation,
  folderOf,
  processNames,
  type TestInstallation,
} from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 3: all data of a node is deleted. With a backup and the current control node everything continues. Without one
// the node is quarantined and named. For single lost cells and full disks see tests/e2e/disk.

const SEGMENTS = 4;
const RATE = 100_000;
const content = randomDesign(SEGMENTS * 16_370 - 3);

let system: TestInstallation;
let owner: Session;
let operator: Session;
let design: string;
let licence: string;
let backup: string;

beforeAll(async () => {
  system = await createTestInstallation({ machine: { kind: 'sink', factor: 1, bytesPerSecond: RATE, stallMs: 3_000 } });
  owner = await system.session('owner');
  operator = await system.session('operator');
  ({ design } = await store(system, owner, content, { name: 'a.bin', kind: 'binary', bytesPerSecond: RATE }));
  licence = await license(system, owner, design, 10);
  expect((await millrace(system.home, 'vault', 'check', '--json')).exit).toBe(0);
  await stopAll();
  backup = join(system.scratch, 'all.backup');
  expect((await millrace(system.home, 'backup', 'create', backup, '--json')).exit).toBe(0);
});
afterAll(() => system?.close());

async function stopAll(): Promise<void> {
  for (const name of processNames) await system.processes[name].kill();
}

async function startAll(): Promise<void> {
  for (const name of processNames) await system.processes[name].start();
}

const erase = (role: (typeof nodeRoles)[number]) =>
  rm(join(folderOf(system.installation, role), nodeFiles.data), { recursive: true });

async function expectPrint(): Promise<void> {
  const view = await untilEnded(operator, await order(system, operator, licence));
  expect(view).toMatchObject({ state: 'completed' });
  expect(await machineObject(system, objectOf(view))).toMatchObject({ sha256: hashOf(content) });
}

describe('after all data of a node is deleted', () => {
  it.each(oneOf(nodeRoles.filter((role) => role !== 'control')))(
    '%s: restored from a backup, it prints',
    async (role) => {
      await erase(role);
      expect((await millrace(system.home, 'backup', 'restore', backup, '--json')).exit).toBe(0);
      await startAll();
      await expectPrint();
      expect((await millrace(system.home, 'vault', 'check', '--deep', '--json')).exit).toBe(0);
      await stopAll();
    },
  );

  it('segments: the node is quarantined and named, nothing is printed, and a backup restores it', async () => {
    const role = 'segments';
    await erase(role);
    await startAll();
    let named: unknown[] | undefined;
    for (let i = 0; !named?.length; i++) {
      expect(i, 'the loss is reported').toBeLessThan(400);
      named = (await owner.api.status()).quarantine;
      await sleep(50);
    }
    expect(named).toEqual([expect.objectContaining({ role })]);
    expect((await system.log(role)).trim()).toMatch(/E_QUARANTINE/);
    const print = await order(system, operator, licence);
    await sleep(3_000);
    // Control may permit the print, which then waits for segments.
    expect((await operator.api.print(print)).state).toMatch(/^(queued|permitted)$/);
    await stopAll();
    expect((await millrace(system.home, 'backup', 'restore', backup, '--json')).exit).toBe(0);
    await startAll();
    expect(await untilEnded(operator, print)).toMatchObject({ state: 'completed' });
    expect((await owner.api.status()).quarantine).toEqual([]);
    await stopAll();
  });
});
