import { writeFileSync } from 'node:fs';
import { gcode } from '@millrace/testkit/designs';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { haystacksOf } from '@millrace/testkit/recorder';
import { filesOf, scan } from '@millrace/testkit/scan';
import { oneOf } from '@millrace/testkit/share';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterEach, describe, expect, it } from 'vitest';

const BYTES = 40_000_000;
const LIMIT_MS = 10 * 60_000;
const design = gcode(BYTES);
/** MILLRACE_KILLS takes one of these. */
const checks = oneOf(['link', 'traces']);

let system: TestInstallation | undefined;
afterEach(async () => {
  await system?.close();
  system = undefined;
});

/** As fast as this computer allows: the machine's registered pace is far higher. */
const machine = { factor: 1e9, order: 24, stallMs: 60_000, giveUpMs: LIMIT_MS } as const;

async function make(current: TestInstallation) {
  const owner = await current.session('owner');
  const operator = await current.session('operator');
  const stored = await store(current, owner, design);
  const licence = await license(current, owner, stored.design, 1);
  const view = await untilEnded(operator, await order(current, operator, licence), LIMIT_MS);
  expect(view).toMatchObject({ state: 'completed' });
  const made = await machineObject(current, objectOf(view));
  expect(made).toMatchObject({ event: 'completed', bytes: BYTES, sha256: hashOf(design) });
  // All traffic of this machine, including handshake, polls and reports.
  return { made, up: current.wire?.up ?? 0, down: current.wire?.down ?? 0 };
}

/** Prints the figures, and stores them where MILLRACE_FIGURES says. */
function tell(name: string, figures: object): void {
  const line = JSON.stringify({ name, ...figures });
  process.stdout.write(`${line}\n`);
  if (process.env.MILLRACE_FIGURES) writeFileSync(process.env.MILLRACE_FIGURES, `${line}\n`, { flag: 'a' });
}

describe('a design of 40 MB at order 24', () => {
  it.runIf(checks.includes('link')).each([
    ['dense', 1.09],
    ['sparse', 1.36],
  ] as const)(
    'with %s hints is executed byte for byte, and its link carries at most %d times its bytes',
    async (hints, most) => {
      system = await createTestInstallation({ count: true, machine: { ...machine, hints } });
      const { made, up, down } = await make(system);
      const overhead = (up + down) / BYTES;
      tell(`${hints} hints, order 24`, { bytes: BYTES, up, down, overhead, agentSays: made.overhead });
      expect(overhead).toBeLessThanOrEqual(most);
      expect(overhead).toBeGreaterThan(1); // sanity check: the design was on this link
      // The agent's own figure, which users see, is the same.
      expect(Math.abs((made.overhead ?? 0) - overhead)).toBeLessThan(0.005);
    },
    LIMIT_MS,
  );

  it.runIf(checks.includes('traces'))(
    'leaves no run of 16 bytes on any link or in any folder',
    async () => {
      system = await createTestInstallation({ record: true, machine });
      await make(system);
      expect(scan(haystacksOf(system.recordings()), design)).toEqual([]);
      for (const node of ['control', 'distribution', 'segments', 'keys', 'machine'] as const)
        expect(scan(filesOf(folderOf(system.installation, node)), design), node).toEqual([]);
      expect(scan(filesOf(system.installation.layout.run.logs), design)).toEqual([]);
    },
    LIMIT_MS,
  );
});
