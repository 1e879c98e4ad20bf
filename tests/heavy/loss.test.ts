import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep } from '@millrace/base';
import type { Session } from '@millrace/client';
import { noisyGcode, randomDesign } from '@millrace/testkit/designs';
import {
  eventsOf,
  hashOf,
  license,
  machineObject,
  objectOf,
  order,
  runRecordOf,
  store,
  untilEnded,
  untilPrint,
} from '@millrace/testkit/job';
import { openBadNetwork } from '@millrace/testkit/network';
import { factorFor } from '@millrace/testkit/pace';
import { filesOf, scan } from '@millrace/testkit/scan';
import {
  createTestInstallation,
  folderOf,
  type ProcessName,
  type TestInstallation,
  type TestInstallationOptions,
} from '@millrace/testkit/test-installation';
import { afterAll, describe, expect, it } from 'vitest';

// During a print links are cut for 30 s, silent for 30 s, slow and lossy, and processes are paused for 20 s. The
// machine continues from its buffer, and every byte is executed once. The prints run concurrently: they mostly wait.

const LIMIT_MS = 240_000;
const STALL_MS = 30_000;
const PAUSE_MS = 20_000;

const systems: TestInstallation[] = [];
const scratch = mkdtempSync(join(tmpdir(), 'millrace loss '));
afterAll(async () => {
  await Promise.all(systems.map((system) => system.close()));
  rmSync(scratch, { recursive: true, force: true });
});

interface Begun {
  readonly system: TestInstallation;
  readonly owner: Session;
  readonly operator: Session;
  readonly print: string;
}

async function begin(
  options: TestInstallationOptions,
  design: Uint8Array,
  how: { name: string; kind: 'gcode' | 'binary'; bytesPerSecond?: number },
): Promise<Begun> {
  const system = await createTestInstallation(options);
  systems.push(system);
  const owner = await system.session('owner');
  const operator = await system.session('operator');
  const stored = await store(system, owner, design, how);
  const licence = await license(system, owner, stored.design, 1);
  return { system, owner, operator, print: await order(system, operator, licence) };
}

const untilTaken = ({ operator, print }: Begun, segments: number) =>
  untilPrint(operator, print, ({ progress, state }) => (progress?.acked ?? 0) >= segments || state === 'completed');

/** Checks that every byte was executed once, without an alarm. */
async function expectMade({ owner, operator, print, system }: Begun, design: Uint8Array) {
  const view = await untilEnded(operator, print, LIMIT_MS);
  expect(view).toMatchObject({ state: 'completed' });
  const made = await machineObject(system, objectOf(view));
  expect(made).toMatchObject({ bytes: design.length, sha256: hashOf(design) });
  const events = await eventsOf(owner, objectOf(view));
  expect(events.filter((type) => type !== 'progressed' && type !== 'machine')).toEqual([
    'ordered',
    'permitted',
    'started',
    'completed',
  ]);
  return made;
}

/** The segments that the machine has taken, from the agent's run record. */
const takenOf = async (system: TestInstallation): Promise<number> => (await runRecordOf(system)).segments;

describe.concurrent('the link to the machine', () => {
  /** Seven segments of about 13 s each: the three segments ahead last about 36 s. */
  const design = noisyGcode(7 * 16_370 - 100, 600);
  const SECONDS = 92;

  it.each(['refused', 'silent'] as const)(
    '%s for 30 s: the machine executes from its buffer without waiting, and continues',
    async (network) => {
      const temporary = join(scratch, network);
      mkdirSync(temporary);
      const begun = await begin(
        {
          count: true,
          // A buffer like that of a real machine: the agent holds the segments ahead.
          machine: { factor: await factorFor(design, SECONDS), stallMs: 5_000, driver: { bufferBytes: 2_048 } },
          environment: { machine: { env: { TMPDIR: temporary } } },
        },
        design,
        { name: `${network}.gcode`, kind: 'gcode' },
      );
      const { system } = begun;
      await untilTaken(begun, 2);
      const taken = [await takenOf(system)];
      const { wire } = system;
      if (wire === undefined) throw new Error('the link is not proxied');
      wire.become(network);
      const passed = wire.down;
      const end = performance.now() + STALL_MS;
      const findings: unknown[] = [];
      while (performance.now() < end) {
        await sleep(2_000);
        taken.push(await takenOf(system));
        const folders = [folderOf(system.installation, 'machine'), temporary];
        for (const folder of folders) findings.push(...scan(filesOf(folder), design));
      }
      expect(wire.down).toBe(passed);
      wire.become('good');
      // In 30 s the agent recorded progress at least three times, once per segment.
      expect(new Set(taken).size).toBeGreaterThanOrEqual(3);
      expect([...taken].sort((a, b) => a - b)).toEqual(taken);
      expect(findings).toEqual([]);
      const made = await expectMade(begun, design);
      expect(made.sessions).toBeGreaterThanOrEqual(2);
      // It waited briefly for the first segment.
      expect(made.starvedSeconds).toBeLessThan(1);
    },
    LIMIT_MS,
  );
});

describe.concurrent('a process paused for 20 s', () => {
  const RATE = 16_370 / 6;
  const design = randomDesign(16 * 16_370 - 9);

  it(
    'the print continues, without an alarm and without a repeated line',
    async () => {
      const begun = await begin(
        { machine: { kind: 'sink', factor: 1, bytesPerSecond: RATE, stallMs: 5_000, driver: { bufferBytes: 2_048 } } },
        design,
        { name: 'paused.bin', kind: 'binary', bytesPerSecond: RATE },
      );
      const names: readonly ProcessName[] = ['segments', 'keys', 'distribution', 'machine'];
      let taken = 1;
      for (const name of names) {
        await untilTaken(begun, taken);
        begun.system.processes[name].signal('SIGSTOP');
        await sleep(PAUSE_MS);
        begun.system.processes[name].signal('SIGCONT');
        // Wait until it has continued for a segment after the pause.
        taken = ((await begun.operator.api.print(begun.print)).progress?.acked ?? 0) + 2;
      }
      await expectMade(begun, design);
    },
    LIMIT_MS,
  );
});

const bad = openBadNetwork('delay', '100ms', '50ms', 'loss', '3%', 'reorder', '10%');
if (typeof bad === 'string')
  process.stdout.write(`loss.test: lost packets go unchecked, no network of our own: ${bad}\n`);
else afterAll(() => bad.close());

describe.concurrent('a link with delayed, lost and reordered packets', () => {
  const RATE = 2 * 16_370;
  const design = randomDesign(60 * 16_370 - 9);
  const machine = { kind: 'sink', factor: 1, bytesPerSecond: RATE, driver: { bufferBytes: 2_048 } } as const;
  const how = { kind: 'binary', bytesPerSecond: RATE } as const;

  it(
    'emulated in TCP, 100 ms ± 50 ms each way, every thirtieth piece 300 ms late: the machine hardly waits',
    async () => {
      const lag = { delayMs: 100, jitterMs: 50, lost: 1 / 30, againMs: 300 };
      const begun = await begin({ count: true, proxy: { lag }, machine }, design, { name: 'late.bin', ...how });
      const made = await expectMade(begun, design);
      expect(made.sessions).toBe(1);
      expect(made.starvedSeconds).toBeLessThan(5);
    },
    LIMIT_MS,
  );

  it.runIf(typeof bad !== 'string')(
    'emulated by the kernel, 100 ms ± 50 ms each way, 3 % lost, some reordered: the machine gets every byte',
    async () => {
      if (typeof bad === 'string') throw new Error(bad);
      const environment = { machine: { within: bad.within } };
      const begun = await begin({ count: true, proxy: { host: bad.host }, machine, environment }, design, {
        name: 'lost.bin',
        ...how,
      });
      await expectMade(begun, design);
      expect(bad.dropped()).toBeGreaterThan(10);
    },
    LIMIT_MS,
  );
});
