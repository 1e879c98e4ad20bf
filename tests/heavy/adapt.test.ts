import { systemRandom } from '@millrace/base';
import type { PrintView } from '@millrace/client';
import { createReceiver } from '@millrace/live-matrix';
import { randomDesign } from '@millrace/testkit/designs';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded, untilPrint } from '@millrace/testkit/job';
import type { Managed } from '@millrace/testkit/process';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterEach, expect, it } from 'vitest';

// A real agent gets a twentieth of its processor during a print, and later all of it again: it goes from order 24 to
// order 16 and back in one print, byte for byte.

const LIMIT_MS = 240_000;
/** The agent's share of every half second. */
const SHARE_MS = 25;
const PERIOD_MS = 500;
/** Six seconds per segment: the three segments ahead last longer than a change takes. */
const RATE = 16_370 / 6;
const design = randomDesign(19 * 16_370 - 9);

let system: TestInstallation | undefined;
let throttle: { release(): void } | undefined;
afterEach(async () => {
  throttle?.release();
  await system?.close();
});

/** Throttles a process to a small share of the time by stopping and continuing it, as a scheduler would. */
function throttled(victim: Managed): { release(): void } {
  let timer: NodeJS.Timeout | undefined;
  const pause = () => {
    victim.signal('SIGSTOP');
    timer = setTimeout(run, PERIOD_MS - SHARE_MS);
  };
  const run = () => {
    victim.signal('SIGCONT');
    timer = setTimeout(pause, SHARE_MS);
  };
  pause();
  return {
    release: () => {
      clearTimeout(timer);
      if (victim.running) victim.signal('SIGCONT');
    },
  };
}

/** Milliseconds for one table of order 24 on this computer, the longest of three. */
async function tableTime(): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < 3; i++) {
    const began = performance.now();
    const parameters = { order: 24, suite: 'keccak256', hints: 'dense' } as const;
    const receiver = await createReceiver({ parameters, sessionId: systemRandom(16), seed: systemRandom(32) });
    times.push(performance.now() - began);
    await receiver.close();
  }
  return Math.ceil(Math.max(...times));
}

it(
  'an agent throttled during a print falls to order 16 and later returns to 24, with every byte once',
  async () => {
    const slowTableMs = 6 * (await tableTime());
    system = await createTestInstallation({
      machine: {
        kind: 'sink',
        factor: 1,
        bytesPerSecond: RATE,
        order: 'auto',
        suite: 'auto',
        slowTableMs,
        stallMs: 10_000,
        // The virtual machine runs in the throttled process. A real one would keep its pace, so it makes up lost time.
        driver: { bufferBytes: 2_048, bucketMs: 1_000 },
      },
    });
    const owner = await system.session('owner');
    const operator = await system.session('operator');
    const how = { name: 'part.bin', kind: 'binary', bytesPerSecond: RATE } as const;
    const licence = await license(system, owner, (await store(system, owner, design, how)).design, 1);
    const print = await order(system, operator, licence);
    const untilOrder = (wanted: number, taken: number): Promise<PrintView> =>
      untilPrint(
        operator,
        print,
        ({ progress, state }) =>
          (progress?.matrix?.order === wanted && (progress.acked ?? 0) >= taken) ||
          state === 'completed' ||
          state === 'failed',
      );
    const seen = [await untilOrder(24, 3)];
    throttle = throttled(system.processes.machine);
    seen.push(await untilOrder(16, 0));
    throttle.release();
    seen.push(await untilOrder(24, 0));
    for (const { state } of seen) expect(state).toBe('running');
    expect(seen.map(({ progress }) => progress?.matrix)).toMatchObject([
      { order: 24, suite: 'keccak256' },
      { order: 16, suite: 'turboshake128', revisionMs: 1_000 },
      { order: 24, suite: 'keccak256' },
    ]);
    const view = await untilEnded(operator, print, LIMIT_MS);
    expect(view).toMatchObject({ state: 'completed' });
    const made = await machineObject(system, objectOf(view));
    expect(made).toMatchObject({ bytes: design.length, sha256: hashOf(design) });
    expect(made.sessions).toBeGreaterThanOrEqual(3);
    const acked = seen.map(({ progress }) => progress?.acked);
    process.stdout.write(`${JSON.stringify({ name: 'adapt', slowTableMs, acked, sessions: made.sessions })}\n`);
  },
  LIMIT_MS,
);
