import { execFileSync } from 'node:child_process';
import { randomDesign } from '@millrace/testkit/designs';
import { eventsOf, hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { createTestInstallation, type ProcessName, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterEach, describe, expect, it } from 'vitest';

// Wall clocks an hour apart: libfaketime sets a real process's clock. Revisions are numbers and waits use monotonic
// clocks. Only the validity of signed documents, with 65 minutes of tolerance, depends on wall clocks.

/** The libfaketime library, if it is installed. */
function fakeTime(): string | undefined {
  try {
    return execFileSync('faketime', ['-f', '+0s', 'printenv', 'LD_PRELOAD'], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
}

const library = fakeTime();
if (library === undefined) process.stdout.write('clocks.test: not checked with real processes: faketime is not here\n');

const SEGMENTS = 12;
const RATE = 6 * 16_370;
const design = randomDesign(SEGMENTS * 16_370 - 5);

let system: TestInstallation | undefined;
afterEach(async () => {
  await system?.close();
  system = undefined;
});

/** An installation in which the clocks of some processes are ahead by the given number of seconds. */
function worldWith(off: Partial<Record<ProcessName, number>>): Promise<TestInstallation> {
  const environment = Object.fromEntries(
    Object.entries(off).map(([name, seconds]) => [
      name,
      {
        env: {
          LD_PRELOAD: library,
          FAKETIME: `${seconds < 0 ? '' : '+'}${seconds}s`,
          // Both spellings: older versions know only the second one.
          FAKETIME_DONT_FAKE_MONOTONIC: '1',
          DONT_FAKE_MONOTONIC: '1',
        },
      },
    ]),
  );
  return createTestInstallation({ machine: { kind: 'sink', factor: 1, bytesPerSecond: RATE }, environment });
}

/** The log of a process is dated by its clock. */
async function clockOf(name: ProcessName): Promise<number> {
  const lines = (await system?.log(name))?.trim().split('\n') ?? [];
  const times = lines.flatMap((line) => (line.includes('"time":"') ? [JSON.parse(line) as { time: string }] : []));
  return Date.parse(times.at(-1)?.time ?? '');
}

describe.runIf(library !== undefined)('wall clocks an hour apart', () => {
  it.each([
    ['the machine’s ahead', { machine: 3_600 }],
    ['the machine’s behind', { machine: -3_600 }],
    ['the proactive nodes’ apart', { segments: 1_800, keys: -1_800 }],
  ] as const)('%s: the object is made exactly, without an alarm', async (_, off) => {
    system = await worldWith(off);
    const owner = await system.session('owner');
    const operator = await system.session('operator');
    const stored = await store(system, owner, design, { name: 'a.bin', kind: 'binary', bytesPerSecond: RATE });
    const licence = await license(system, owner, stored.design, 1);
    const view = await untilEnded(operator, await order(system, operator, licence));
    expect(view).toMatchObject({ state: 'completed' });
    const made = await machineObject(system, objectOf(view));
    expect(made).toMatchObject({ sha256: hashOf(design), sessions: 1 });
    expect(await eventsOf(owner, objectOf(view))).not.toContain('alarmed');
    // Positive control of this test: the clocks really differed.
    for (const [name, seconds] of Object.entries(off) as [ProcessName, number][]) {
      const apart = ((await clockOf(name)) - Date.now()) / 1_000;
      expect(Math.abs(apart - seconds)).toBeLessThan(600);
    }
  });
});
