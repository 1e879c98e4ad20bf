import { cp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sleep } from '@millrace/base';
import { checkVault, repairDesign, type Session, type StatusView, storeDesign } from '@millrace/client';
import { keepCopy, openCopy, prepareFile } from '@millrace/client/node';
import { ledgerSizeSeen, openRecords } from '@millrace/cloud/parts';
import { openLmdb } from '@millrace/stores';
import { machineObjects } from '@millrace/testkit/audit';
import { millrace } from '@millrace/testkit/cli';
import { randomDesign } from '@millrace/testkit/designs';
import { hashOf, license, machineObject, objectOf, order, untilEnded } from '@millrace/testkit/job';
import { oneOf } from '@millrace/testkit/share';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

// A node's data folder is copied, epochs pass, and the old copy is restored. It is detected, and nothing continues.

const design = randomDesign(6 * 16_370);
const rate = Math.ceil(design.length / 0.5);

let system: TestInstallation;
let owner: Session;
let operator: Session;
let id: string;
let licence: string;

beforeEach(async () => {
  system = await createTestInstallation({
    machine: { kind: 'sink', factor: 1, bytesPerSecond: rate, stallMs: 3_000 },
    maintenance: { periodMs: 500, density: 50 },
  });
  owner = await system.session('owner');
  operator = await system.session('operator');
  const file = join(system.scratch, 'a.bin');
  await writeFile(file, design);
  const prepared = await prepareFile(owner, file, { kind: 'binary', bytesPerSecond: rate }, () => undefined);
  await keepCopy(prepared, join(system.scratch, 'copies'));
  ({ design: id } = await storeDesign(owner, prepared, () => undefined));
  licence = await license(system, owner, id, 2);
  await sleep(1_500); // by then the keys node has the licence's secret, and so has every copy of its folder
});
afterEach(() => system?.close());

type Name = 'control' | 'segments' | 'keys';

/** Leaves the node stopped. */
async function copyOfStopped(name: Name, as: string): Promise<string> {
  await system.processes[name].kill();
  const copy = join(system.scratch, `${name}-${as}`);
  await cp(join(folderOf(system.installation, name), 'data'), copy, { recursive: true });
  return copy;
}

async function copyOf(name: Name): Promise<string> {
  const copy = await copyOfStopped(name, 'old');
  await system.processes[name].start();
  return copy;
}

async function putBack(name: Name, copy: string): Promise<void> {
  await system.processes[name].kill();
  const data = join(folderOf(system.installation, name), 'data');
  await rm(data, { recursive: true });
  await cp(copy, data, { recursive: true });
  await system.processes[name].start();
}

const epochOf = ({ maintenance }: StatusView): number => (maintenance as { epoch?: number } | null)?.epoch ?? 0;

/** Waits until control has recorded the nodes' epoch, and the nodes control's ledger. Reads the stores of all three. */
async function untilReported(): Promise<void> {
  const open = (name: Name) => openLmdb({ path: join(folderOf(system.installation, name), 'data') });
  const [control, ...proactive] = [open('control'), open('segments'), open('keys')];
  const epoch = epochOf(await owner.api.status());
  const [, size = '0'] = new TextDecoder().decode(await owner.api.checkpoint()).split('\n');
  const { heads } = openRecords(control.records('records'));
  try {
    await vi.waitFor(
      async () => {
        const epochs: number[] = [];
        for await (const [, head] of heads.list()) epochs.push(head.epoch);
        expect(epochs).toHaveLength(2);
        for (const reported of epochs) expect(reported).toBeGreaterThanOrEqual(epoch);
        for (const node of proactive)
          expect(await ledgerSizeSeen(node.records('records'))).toBeGreaterThanOrEqual(Number(size));
      },
      { timeout: 60_000, interval: 100 },
    );
  } finally {
    for (const environment of [control, ...proactive]) await environment.close();
  }
}

/** Waits until epochs have passed and the nodes have reported them to control. */
async function passEpochs(): Promise<void> {
  const before = epochOf(await owner.api.status());
  for (let i = 0; epochOf(await owner.api.status()) < before + 4; i++) {
    if (i > 400) throw new Error('no epoch ends');
    await sleep(50);
  }
  await untilReported();
}

async function untilQuarantined(name: Name): Promise<string> {
  for (let i = 0; i < 600; i++) {
    const found = (await owner.api.status()).quarantine?.find(({ role }) => role === name);
    if (found !== undefined) return found.reason;
    await sleep(50);
  }
  throw new Error(`${name} is not quarantined`);
}

async function stopAll(): Promise<void> {
  for (const process of Object.values(system.processes)) await process.kill();
}

async function startAll(): Promise<void> {
  for (const name of ['control', 'distribution', 'segments', 'keys', 'machine'] as const)
    await system.processes[name].start();
}

async function print(): Promise<void> {
  const view = await untilEnded(operator, await order(system, operator, licence));
  expect(view).toMatchObject({ state: 'completed' });
  expect(await machineObject(system, objectOf(view))).toMatchObject({ sha256: hashOf(design) });
}

describe('a restored older state', () => {
  it.each(oneOf(['segments', 'keys'] as const))(
    'of the %s node is quarantined; with the newest state the node continues',
    async (name) => {
      const old = await copyOf(name);
      await passEpochs();
      const newest = await copyOfStopped(name, 'newest');
      await putBack(name, old);
      const reason = await untilQuarantined(name);
      expect(reason).toMatch(/is at epoch \d+; it has reported epoch \d+ before/);
      // Another process writes the log, slightly later.
      await expect.poll(() => system.log(name), { timeout: 30_000 }).toContain('E_QUARANTINE');
      const epoch = epochOf(await owner.api.status());
      await sleep(2_000);
      expect(epochOf(await owner.api.status())).toBe(epoch); // no sweep ends
      // The other nodes have not advanced meanwhile, so the newest state matches.
      await putBack(name, newest);
      await passEpochs();
      expect((await owner.api.status()).quarantine).toEqual([]);
      expect((await millrace(system.home, 'vault', 'check', '--deep', '--json')).exit).toBe(0);
      await print();
    },
  );

  it('of control makes it permit nothing', async () => {
    const old = await copyOf('control');
    const waiting = await license(system, owner, id, 1); // the ledger grows
    expect(waiting).toMatch(/^[0-9a-f]{32}$/);
    await untilReported();
    await putBack('control', old);
    expect(await untilQuarantined('control')).toContain('entries');
    await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_QUARANTINE' });
    await expect(license(system, owner, id, 1)).rejects.toMatchObject({ code: 'E_QUARANTINE' });
  });

  it('of control, older than the prints made since: the one object left is made, and no other', async () => {
    const several = await license(system, owner, id, 3);
    const prints = () => order(system, operator, several);
    const objects = async () => (await machineObjects(system)).filter(({ object }) => object.startsWith(several));
    await sleep(1_500); // the keys node has the licence's secret
    const old = await copyOf('control');
    for (let made = 1; made <= 2; made++) {
      const view = await untilEnded(operator, await prints());
      expect(view).toMatchObject({ state: 'completed', object: `${several}-${made}` });
    }
    await untilReported();
    await putBack('control', old);
    expect(await untilQuarantined('control')).toContain('entries');
    await expect(prints()).rejects.toMatchObject({ code: 'E_QUARANTINE', remedy: expect.stringContaining('recover') });

    await stopAll();
    expect(await millrace(system.home, 'recover', 'control', '--accept-loss', '--json')).toMatchObject({ exit: 0 });
    await startAll();
    await expect(prints()).rejects.toMatchObject({
      code: 'E_LICENCE_SUSPENDED',
      remedy: expect.stringContaining('licence resume'),
    });
    expect((await millrace(system.home, 'licence', 'resume', several, '--left', '1', '--json')).exit).toBe(0);
    const last = await untilEnded(operator, await prints());
    expect(last).toMatchObject({ state: 'completed', object: `${several}-3` });
    await expect(prints()).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
    const completed = (await objects()).filter(({ event }) => event === 'completed');
    expect(completed.map(({ sha256 }) => sha256)).toEqual(new Array(3).fill(hashOf(design)));
  });

  it('of control, with a statement that leaves too many: the object made before is refused, and the next one is made', async () => {
    const two = await license(system, owner, id, 2);
    await sleep(1_500); // the keys node has the licence's secret
    const old = await copyOf('control');
    expect(await untilEnded(operator, await order(system, operator, two))).toMatchObject({ state: 'completed' });
    await untilReported();
    await putBack('control', old);
    await untilQuarantined('control');
    await stopAll();
    expect(await millrace(system.home, 'recover', 'control', '--accept-loss', '--json')).toMatchObject({ exit: 0 });
    await startAll();
    // One is left. The owner says two.
    expect((await millrace(system.home, 'licence', 'resume', two, '--left', '2', '--json')).exit).toBe(0);
    const again = await untilEnded(operator, await order(system, operator, two));
    expect(again).toMatchObject({ state: 'failed', object: `${two}-1`, code: 'E_REPLAY' });
    const last = await untilEnded(operator, await order(system, operator, two));
    expect(last).toMatchObject({ state: 'completed', object: `${two}-2` });
    const made = (await machineObjects(system)).filter(
      ({ object, event }) => object.startsWith(two) && event === 'completed',
    );
    expect(made).toHaveLength(2);
  });

  it.each(oneOf(['segments', 'keys', 'control'] as const))(
    'of %s can be accepted by an administrator',
    async (name) => {
      const old = await copyOf(name);
      await license(system, owner, id, 1);
      await passEpochs();
      await putBack(name, old);
      await untilQuarantined(name);
      await stopAll();
      expect((await millrace(system.home, 'recover', name, '--json')).code).toBe('E_INPUT');
      expect(await millrace(system.home, 'recover', name, '--accept-loss', '--json')).toMatchObject({ exit: 0 });
      await startAll();
      await passEpochs();
      expect((await owner.api.status()).quarantine).toEqual([]);
      await repairDesign(
        owner,
        id,
        () => openCopy(join(system.scratch, 'copies'), id),
        () => undefined,
        async () => checkVault(await system.session('admin'), true),
      );
      if (name === 'control') {
        // The permits since the copy are unknown.
        await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_LICENCE_SUSPENDED' });
        expect((await millrace(system.home, 'licence', 'resume', licence, '--left', '2', '--json')).exit).toBe(0);
      }
      await print();
    },
    240_000,
  );
});
