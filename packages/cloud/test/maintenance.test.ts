import type { MaintenanceReport } from '@millrace/api';
import { MillraceError, noMetrics, RwLock, silentLogger, systemClock, systemRandom, toHex } from '@millrace/base';
import type { Message } from '@millrace/protocol';
import { MemoryCells, MemoryLog, MemoryRecords } from '@millrace/stores';
import { createProtocolFixture } from '@millrace/testkit/protocol/support';
import { CellStore, createKeyWrapper, decodeMessage, InProcessEngine, MemorySlots, Playbook } from '@millrace/vault';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Checks } from '../src/keys/checks.ts';
import { Maintenance } from '../src/keys/maintenance.ts';
import { SegmentsMembers } from '../src/keys/segments-members.ts';
import { Storing } from '../src/keys/storing.ts';
import { SweepSchedule } from '../src/keys/sweep-schedule.ts';
import { VaultKeys } from '../src/keys/vault-keys.ts';
import { controlClient } from '../src/node/api-clients.ts';
import type { MailClient } from '../src/node/mail-client.ts';
import { VaultKeyRing } from '../src/segments/vault-key-ring.ts';
import { addDesign } from './vault-design.ts';

const { directory } = createProtocolFixture();
const SEGMENTS = 300; // more than fit into one part

let close: () => Promise<void> = async () => undefined;
afterEach(() => close());

/** The keys node's side, and behind the mail the segments node's half of the vault. */
async function vault(periodMs: number) {
  const store = new MemoryRecords();
  const playbook = await Playbook.open({
    log: new MemoryLog(),
    epochSlots: new MemorySlots(),
    designSlots: new MemorySlots(),
    wrapper: createKeyWrapper(systemRandom(32)),
    density: 100,
  });
  const cells = new CellStore(new InProcessEngine(new MemoryCells()));
  const results: { check: string; epoch: number }[] = [];
  const parts: ('check' | 'maintain')[] = [];
  const mail: MailClient = {
    send: async (recipient, message: Message) => {
      if ('role' in recipient && recipient.role === 'control') {
        if (message.type === 'check.result') results.push({ check: message.check, epoch: playbook.status().epoch });
        return;
      }
      if (message.type === 'vault.renew') return void setImmediate(() => vaultKeys.stated('segments-1', ring.renew()));
      if (message.type === 'vault.renewed') return ring.renewed(message.point);
      if (message.type !== 'vault.sealed') throw new MillraceError('E_INPUT', 'not expected here');
      const opened = await ring.open('keys-1', message.point, message.sealed);
      if (opened === undefined) throw new MillraceError('E_SEAL', 'erased');
      const asked = decodeMessage(opened);
      if (asked.type !== 'check' && asked.type !== 'maintain') throw new MillraceError('E_INPUT', asked.type);
      parts.push(asked.type);
      const answer = asked.type === 'check' ? await cells.check(asked) : await cells.maintain(asked);
      setImmediate(() => maintenance.answered(answer, 'segments-1'));
    },
    start: () => undefined,
    close: async () => undefined,
  };
  const ring = new VaultKeyRing(directory, 'segments-1');
  const vaultKeys = new VaultKeys({ mail, directory, id: 'keys-1', logger: silentLogger });
  vaultKeys.renew();
  const members = new SegmentsMembers({ directory, keys: vaultKeys, clock: systemClock });
  const reports: MaintenanceReport[] = [];
  const control = controlClient({
    call: async (_method, _path, { json }) => {
      reports.push(json as MaintenanceReport);
      return { status: 200, body: new Uint8Array(), json: () => ({}) };
    },
  });
  const maintenance = new Maintenance(
    {
      playbook,
      store,
      mail,
      vaultKeys,
      members,
      storing: new Storing({ members, clock: systemClock, signal: vaultKeys.closing }),
      control,
      clock: systemClock,
      logger: silentLogger,
      metrics: noMetrics,
      order: new RwLock(),
    },
    { periodMs },
  );
  const checks = new Checks(
    { everyMs: 0, deepEveryMs: 0, afterStartMs: 0 },
    { store, check: (ids, deep) => maintenance.check(ids, deep), logger: silentLogger },
  );
  close = async () => {
    await maintenance.close();
    await checks.close();
  };
  await addDesign(playbook, cells, SEGMENTS);
  return { playbook, maintenance, checks, results, parts, reports };
}

const id = () => toHex(systemRandom(16));

describe('checks and sweeps', () => {
  it('take turns: every epoch still comes while checks are requested continuously', async () => {
    const { playbook, maintenance, checks, results } = await vault(100);
    maintenance.start();
    let asking = true;
    const ask = async () => {
      while (asking) {
        await checks.ask(id(), true);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    const asked = ask();
    const checked = () => new Set(results.map(({ epoch }) => epoch)).size;
    const epoch = playbook.status().epoch;
    await expect.poll(() => playbook.status().epoch - epoch, { timeout: 60_000 }).toBeGreaterThan(5);
    await expect.poll(checked, { timeout: 60_000 }).toBeGreaterThan(3);
    asking = false;
    await asked;
  }, 120_000);

  it('end, also if a check begins first after a restart in the middle of a step', async () => {
    const { playbook, maintenance, checks, results } = await vault(100);
    await playbook.beginSweep(1);
    expect(await playbook.nextMaintenance(16, 0)).toBeDefined();
    const { epoch } = playbook.status();
    await checks.ask(id(), true);
    await new Promise((resolve) => setTimeout(resolve, 200)); // the check waits for the step now
    expect(results).toEqual([]);
    maintenance.start();
    await expect.poll(() => results.length, { timeout: 60_000 }).toBe(1);
    await expect.poll(() => playbook.status().epoch, { timeout: 60_000 }).toBeGreaterThan(epoch);
  }, 120_000);

  it('do not overlap: a sweep that a check holds up is not reported before it has run', async () => {
    const { playbook, maintenance, reports } = await vault(1);
    const check = await playbook.beginCheck({ deep: false });
    expect(check?.holdsSweep).toBe(true);
    const tries = vi.spyOn(playbook, 'beginSweep');
    const { epoch } = playbook.status();
    maintenance.start();
    await expect.poll(() => tries.mock.calls.length, { timeout: 60_000 }).toBeGreaterThan(2);
    expect(reports).toEqual([]);
    check?.end();
    await expect.poll(() => reports.length, { timeout: 60_000 }).toBeGreaterThan(0);
    expect(reports[0]).toMatchObject({ epoch: epoch + 1, progress: 1 });
  }, 120_000);

  it('alternate: a due step of a sweep goes before the rest of a check', async () => {
    const { maintenance, checks, parts } = await vault(1);
    await checks.ask(id(), true);
    maintenance.start();
    await expect.poll(() => parts.filter((part) => part === 'check').length, { timeout: 60_000 }).toBeGreaterThan(2);
    const [first, last] = [parts.indexOf('check'), parts.lastIndexOf('check')];
    expect(parts.slice(first, last)).toContain('maintain');
  }, 120_000);
});

describe('requested checks', () => {
  const settings = { everyMs: 0, deepEveryMs: 0, afterStartMs: 0 };

  it('share the next run when they arrive during a run', async () => {
    const runs: { ids: readonly string[]; deep: boolean; end: () => void }[] = [];
    const check = (ids: readonly string[], deep: boolean) =>
      new Promise<void>((end) => {
        runs.push({ ids, deep, end });
      });
    const checks = new Checks(settings, { store: new MemoryRecords(), check, logger: silentLogger });
    const [a, ...others] = [id(), id(), id(), id()];
    await checks.ask(a ?? '', false);
    for (const [i, other] of others.entries()) await checks.ask(other, i === 1);
    expect(runs).toHaveLength(1);
    runs[0]?.end();
    await expect.poll(() => runs.length).toBe(2);
    expect(runs[1]).toMatchObject({ ids: others, deep: true });
    runs[1]?.end();
    await checks.close();
    expect(runs).toHaveLength(2);
  });

  it('are repeated after a restart', async () => {
    const store = new MemoryRecords();
    const wanted = id();
    const before = new Checks(settings, {
      store,
      check: () => Promise.reject(new Error('killed')),
      logger: silentLogger,
    });
    const closing = before.close();
    await before.ask(wanted, true);
    await closing;
    const asked: string[] = [];
    const check = async (ids: readonly string[]) => void asked.push(...ids);
    const after = new Checks(settings, { store, check, logger: silentLogger });
    await after.start();
    await expect.poll(() => asked).toEqual([wanted]);
    await after.close();
    const third = new Checks(settings, { store, check, logger: silentLogger });
    await third.start();
    await third.close();
    expect(asked).toEqual([wanted]);
  });
});

describe('the next sweep', () => {
  const PERIOD = 120_000;
  /** A wall clock and a monotonic clock that the test advances. */
  function clocks() {
    let [wall, monotonic] = [1_800_000_000_000, 0];
    return {
      now: () => wall,
      monotonic: () => monotonic,
      pass: (ms: number) => {
        wall += ms;
        monotonic += ms;
      },
      /** A new process: its monotonic clock starts again. */
      restart: () => {
        monotonic = 5;
      },
      set: (ms: number) => {
        wall += ms;
      },
    };
  }

  it('is due one period after the last one, however often the node is restarted', async () => {
    const [store, clock] = [new MemoryRecords(), clocks()];
    let schedule = await SweepSchedule.open(store, clock, PERIOD);
    expect(schedule.wait).toBe(PERIOD);
    clock.pass(90_000);
    clock.restart();
    schedule = await SweepSchedule.open(store, clock, PERIOD);
    expect(schedule.wait).toBe(30_000);
    clock.pass(90_000);
    clock.restart();
    schedule = await SweepSchedule.open(store, clock, PERIOD);
    expect(schedule.wait).toBe(0);
    await schedule.begun();
    clock.pass(1_000);
    expect((await SweepSchedule.open(store, clock, PERIOD)).wait).toBe(PERIOD - 1_000);
  });

  it('does not drift: a late sweep does not move the next one; an overdue sweep starts at once', async () => {
    const clock = clocks();
    const schedule = await SweepSchedule.open(new MemoryRecords(), clock, PERIOD);
    clock.pass(PERIOD + 20_000);
    await schedule.begun();
    expect(schedule.wait).toBe(PERIOD - 20_000);
    clock.pass(5 * PERIOD);
    await schedule.begun();
    expect(schedule.wait).toBe(0);
  });

  it('waits at most one period after the clock was set back, also across restarts', async () => {
    const [store, clock] = [new MemoryRecords(), clocks()];
    await SweepSchedule.open(store, clock, PERIOD);
    clock.set(-86_400_000);
    expect((await SweepSchedule.open(store, clock, PERIOD)).wait).toBe(PERIOD);
    clock.pass(90_000);
    clock.restart();
    expect((await SweepSchedule.open(store, clock, PERIOD)).wait).toBe(30_000);
    clock.set(86_400_000);
    expect((await SweepSchedule.open(store, clock, PERIOD)).wait).toBe(0);
  });
});
