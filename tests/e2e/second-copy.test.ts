import { existsSync } from 'node:fs';
import { cp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { machineFiles, nodeFiles } from '@millrace/cli/parts';
import type { Session } from '@millrace/client';
import { openRecords } from '@millrace/cloud/parts';
import { openLmdb } from '@millrace/stores';
import { randomDesign } from '@millrace/testkit/designs';
import {
  hashOf,
  license,
  type MachineObject,
  machineObject,
  objectOf,
  order,
  store,
  untilEnded,
  untilPrint,
} from '@millrace/testkit/job';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

// An operator with a licence for one object controls the machine's computer. They cut its link when all data has
// arrived, let the machine finish, restore the agent's data folder to its state before the machine moved (every file is
// genuine), and start the agent again, with its real keys and code.

const SEGMENTS = 12;
const RATE = 2 * 16_370;
const design = randomDesign(SEGMENTS * 16_370 - 9);

let system: TestInstallation;
let owner: Session;
let operator: Session;
let stored: string;
let data: string;
let kept: string;

beforeAll(async () => {
  system = await createTestInstallation({
    count: true,
    machine: { kind: 'sink', factor: 1, bytesPerSecond: RATE, giveUpMs: 12_000 },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
  stored = (await store(system, owner, design, { name: 'a.bin', kind: 'binary', bytesPerSecond: RATE })).design;
  data = join(folderOf(system.installation, 'machine'), machineFiles.data);
  kept = join(system.scratch, 'kept');
});
afterAll(() => system?.close());

/** The file name of the agent's record of a started print. */
const hasBegun = () => ['run.json', 'run.state'].some((name) => existsSync(join(data, name)));

/** Makes one complete copy, then restores the agent's earlier state. Returns the print and its object. */
async function makeAndPutBack(): Promise<{ print: string; object: string }> {
  const { machine } = system.processes;
  const licence = await license(system, owner, stored, 1);
  const print = await order(system, operator, licence);
  while (!hasBegun()) await turn();
  machine.signal('SIGSTOP');
  await rm(kept, { recursive: true, force: true });
  await cp(data, kept, { recursive: true });
  machine.signal('SIGCONT');
  const view = await untilPrint(operator, print, ({ progress }) => (progress?.acked ?? 0) >= SEGMENTS - 3);
  system.wire?.become('refused');
  const object = objectOf(view);
  expect(await machineObject(system, object)).toMatchObject({ event: 'completed', sha256: hashOf(design) });
  await machine.kill();
  await rm(data, { recursive: true });
  await cp(kept, data, { recursive: true });
  return { print, object };
}

/** The object that the restored agent made, if any. */
async function secondCopy(object: string): Promise<MachineObject | undefined> {
  const path = join(data, 'objects', `${object}.json`);
  return existsSync(path) ? (JSON.parse(await readFile(path, 'utf8')) as MachineObject) : undefined;
}

it('a restored agent gets nothing after the machine has reported its start', async () => {
  const { object } = await makeAndPutBack();
  system.wire?.become('good');
  await system.processes.machine.start();
  await expect
    .poll(async () => (await system.log('machine')).includes('E_REPLAY') || (await secondCopy(object))?.event, {
      timeout: 40_000,
    })
    .toBe(true);
  expect(await secondCopy(object)).toBeUndefined();
});

it('a restored agent gets nothing even if control permits it: both proactive nodes know the progress', async () => {
  const { print, object } = await makeAndPutBack();
  const { control } = system.processes;
  // A control node that lies: its records say that the machine has not moved and has reported nothing.
  await control.stop();
  const environment = openLmdb({ path: join(folderOf(system.installation, 'control'), nodeFiles.data) });
  await openRecords(environment.records('records')).prints.update(print, (record) => ({
    ...record,
    state: 'permitted',
  }));
  await environment.close();
  await control.start();
  system.wire?.become('good');
  await system.processes.machine.start();
  for (const node of ['keys', 'segments'] as const)
    await expect
      .poll(async () => (await system.log(node)).includes('past segment 0') || (await secondCopy(object))?.event, {
        timeout: 40_000,
      })
      .toBe(true);
  // The agent gives up: nothing arrived, and it reports only that.
  await expect.poll(async () => (await secondCopy(object))?.event, { timeout: 60_000 }).toBe('failed');
  expect((await secondCopy(object))?.segments).toBe(0);
});

it('the machine can print another licence', async () => {
  const licence = await license(system, owner, stored, 1);
  const view = await untilEnded(operator, await order(system, operator, licence));
  expect(view).toMatchObject({ state: 'completed' });
});
