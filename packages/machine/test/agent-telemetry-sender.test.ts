import { type Bytes, systemRandom } from '@millrace/base';
import { createReceiver, Follower, type Receiver } from '@millrace/live-matrix';
import {
  type MachineState,
  openTelemetry,
  reverseKeys,
  reverseMatrix,
  type StreamParameters,
  type Telemetry,
} from '@millrace/protocol';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { MixSecrets } from '../src/agent/mix-secrets.ts';
import { TelemetrySender } from '../src/agent/telemetry-sender.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
});
afterEach(() => {
  vi.useRealTimers();
});

const SEGMENT = 16_370;
const parameters: StreamParameters = {
  object: 'o-1',
  design: 'd',
  designNonce: new Uint8Array(16),
  segments: 2_500,
  from: 0,
  size: 2_500 * SEGMENT,
  window: 64,
  order: 24,
  suite: 'turboshake128',
  hints: 'dense',
  layer: 'ctr',
  revisionMs: 1,
};
const state: MachineState = {
  state: 'running',
  temperatures: { hotend: 215, bed: 60 },
  buffer: 31.4,
  wire: 13_456_789,
  hints: 4_567_890,
};

/** The length of what an agent seals to the owner. */
const sealed = systemRandom(213);

/** A reporter at a machine whose progress and clock the test moves. */
async function bench() {
  const session = systemRandom(16);
  const seed = systemRandom(32);
  const keys = reverseKeys(seed);
  const frames: Bytes[] = [];
  let [now, segments] = [1_000, 0];
  const reporter = new TelemetrySender({
    session,
    seed,
    parameters,
    engine: 'auto',
    mixes: new MixSecrets(session),
    clock: { now: () => now, monotonic: () => now },
    ready: () => 3n,
    taken: () => ({ segments, got: segments + 2, bytes: segments * SEGMENT }),
    state: () => state,
    sealed: () => sealed,
    tableMs: () => 321.4,
    send: (frame) => {
      frames.push(new Uint8Array(frame));
      return true;
    },
  });
  const receiver = await createReceiver({
    parameters: reverseMatrix(parameters),
    sessionId: session,
    seed: keys.seed,
    threads: 0,
  });
  return {
    reporter,
    frames,
    take: (count: number) => {
      for (let i = 0; i < count; i++) {
        segments++;
        reporter.taken();
      }
    },
    pass: (milliseconds: number) => {
      for (let left = milliseconds; left > 0; left -= 250) {
        now += 250;
        vi.advanceTimersByTime(250);
      }
    },
    read: async (): Promise<Telemetry[]> => {
      const out: Telemetry[] = [];
      for (const frame of frames.splice(0)) {
        const { frame: number, cell } = await receiver.decode(frame);
        out.push(openTelemetry(keys.telemetry, number, cell));
      }
      return out;
    },
    close: async () => {
      reporter.close();
      await receiver.close();
    },
  };
}

test('acknowledgements are sent for every eighth of the window, or within a second', async () => {
  const { reporter, take, pass, frames, close } = await bench();
  reporter.flush();
  reporter.heard();
  take(7);
  expect(frames.length).toBe(1);
  take(1);
  expect(frames.length).toBe(2);
  take(3);
  expect(frames.length).toBe(2);
  pass(1_000);
  expect(frames.length).toBeGreaterThan(2);
  expect(reporter.acked).toBe(11);
  await close();
});

test('the report of a ready table is repeated until a frame arrives', async () => {
  const { reporter, pass, read, close } = await bench();
  reporter.flush();
  pass(1_000);
  const before = await read();
  expect(before.length).toBe(5);
  expect(before.every(({ ready }) => ready === 3n)).toBe(true);
  reporter.heard();
  pass(1_000);
  expect((await read()).length).toBeLessThanOrEqual(1);
  await close();
});

test('a slow machine’s telemetry stays within the budget, and is sent at least every five seconds', async () => {
  const { reporter, take, pass, frames, read, close } = await bench();
  reporter.flush();
  reporter.heard();
  // 40 MB in 11 minutes: 62 KB/s, with few segments per acknowledgement.
  for (let i = 0; i < 2_500; i++) {
    take(1);
    if (i % 4 === 3) pass(1_000);
  }
  const upstream = frames.reduce((sum, { length }) => sum + length + 31, 0);
  expect(upstream / (2_500 * SEGMENT)).toBeLessThan(0.005);
  const states = (await read()).filter(({ machine }) => machine !== undefined);
  expect(states.length).toBeGreaterThanOrEqual(125);
  await close();
});

test('a segment is requested again once; the last message carries the machine’s state', async () => {
  const { reporter, read, close } = await bench();
  reporter.resend(17);
  reporter.flush();
  reporter.finish();
  const [first, second, last] = await read();
  expect(first?.resend).toEqual([17]);
  expect(second?.resend).toBeUndefined();
  expect(last).toMatchObject({ machine: state, tableMs: 321, sealed });
  await close();
});

test('a mix’s point is repeated each second until it is answered', async () => {
  const { reporter, pass, read, close } = await bench();
  const point = systemRandom(65);
  reporter.mix(point);
  pass(2_000);
  expect((await read()).filter(({ mix }) => mix !== undefined).length).toBe(3);
  reporter.mixed();
  pass(2_000);
  expect((await read()).some(({ mix }) => mix !== undefined)).toBe(false);
  await close();
});

/** A receiver that only counts. */
function countingReceiver(): Receiver & { prepared: number } {
  const receiver = {
    prepared: 0,
    engine: 'ts' as const,
    get ready() {
      return BigInt(receiver.prepared);
    },
    prepareNext: async () => {
      receiver.prepared++;
    },
    decode: async () => Promise.reject(new Error('not here')),
    mix: () => undefined,
    verifyAhead: () => undefined,
    forget: () => undefined,
    tables: 'ts' as const,
    close: async () => undefined,
  };
  return receiver;
}

test('the next table waits for a valid frame of the newest revision and all frames of the older one', async () => {
  const receiver = countingReceiver();
  const times: number[] = [];
  const follower = new Follower({
    receiver,
    mixes: new MixSecrets(systemRandom(16)).of('forward'),
    now: () => 0,
    onReady: (ms) => times.push(ms),
    onFailed: (error) => {
      throw error;
    },
  });
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  follower.arrived(0n);
  await settle();
  expect(receiver.prepared).toBe(0);
  follower.settled(0n, false);
  await settle();
  expect(receiver.prepared).toBe(0); // the frame was not valid
  follower.arrived(0n);
  follower.settled(0n, true);
  await settle();
  expect(receiver.prepared).toBe(1);
  follower.arrived(0n);
  follower.arrived(1n);
  follower.settled(1n, true);
  await settle();
  expect(receiver.prepared).toBe(1); // preparing would erase the table that the frame of revision 0 needs
  follower.settled(0n, true);
  await settle();
  expect(receiver.prepared).toBe(2);
  expect(times.length).toBe(2);
});

test('revision 64 waits for its fresh secret', async () => {
  const receiver = countingReceiver();
  receiver.prepared = 63;
  const mixes = new MixSecrets(systemRandom(16));
  const follower = new Follower({
    receiver,
    mixes: mixes.of('forward'),
    now: () => 0,
    onReady: () => undefined,
    onFailed: () => undefined,
  });
  expect(mixes.pointDue(31n)).toBeUndefined();
  expect(mixes.pointDue(32n)).toHaveLength(65);
  expect(mixes.pointDue(33n)).toBeUndefined(); // already requested
  follower.arrived(63n);
  follower.settled(63n, true);
  await new Promise((resolve) => setImmediate(resolve));
  expect(receiver.prepared).toBe(63);
});
