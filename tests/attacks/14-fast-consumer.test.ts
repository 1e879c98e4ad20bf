import { type Bytes, type Clock, concatBytes, copyBytes } from '@millrace/base';
import { KeysStream, PaceGuard, SegmentsStream } from '@millrace/cloud/parts';
import { createEngine } from '@millrace/live-matrix';
import { decodeKey, decodeLink, type StreamParameters } from '@millrace/protocol';
import { known } from '@millrace/testkit/attacks/known';
import { machineEnd } from '@millrace/testkit/attacks/machine-end';
import { SEGMENT_BYTES } from '@millrace/vault';
import { describe, expect, it } from 'vitest';

// Row 14: an agent that consumes the design faster than its machine could. Here the code of both proactive nodes runs
// with a fake clock and counts what it sends. tests/e2e/alarm.test.ts uses real processes, ledger and owner.

const SEGMENTS = 200;
const WINDOW = 8;
/** The manifest says one second per segment. */
const SECOND = 10_000;
const session = known('row 14 session', 16);
const parameters: StreamParameters = {
  object: 'o',
  design: 'd',
  designNonce: known('row 14 nonce', 16),
  segments: SEGMENTS,
  from: 0,
  size: SEGMENTS * 16_370,
  window: WINDOW,
  order: 16,
  suite: 'turboshake128',
  hints: 'dense',
  layer: 'ctr',
  revisionMs: 1,
};
const engine = createEngine();
const quiet = { debug: () => undefined } as never;

interface Outcome {
  /** The segments whose keys or frames have been sent. */
  readonly given: number;
  readonly acked: number;
  readonly end: string | undefined;
}

/** A node under test: takes a reverse frame, has sent a number of segments, has ended or not. */
interface Giver {
  receive(frame: Bytes): Promise<void>;
  close(): Promise<void>;
}
type Open = (guard: PaceGuard, clock: Clock, seed: Bytes, note: Notes) => Promise<Giver>;
interface Notes {
  gave(segment: number): void;
  ended(code: string | undefined): void;
}

const openKeys: Open = (guard, clock, seed, note) =>
  KeysStream.open({
    session,
    seed,
    parameters,
    // What the keys are sealed with does not matter here.
    context: { enc: new Uint8Array(65), seal: async (plain) => concatBytes(plain, new Uint8Array(16)) },
    guard,
    engine,
    clock,
    logger: quiet,
    slice: async (from, to) =>
      Array.from({ length: to - from }, (_, i) => ({
        segment: from + i,
        outerKey: new Uint8Array(32),
        cek: new Uint8Array(32),
      })),
    hashes: async () => ({ hashes: new Uint8Array(64), path: [] }),
    mailMix: async () => undefined,
    send: (message) => {
      const link = decodeLink(message, true);
      if (link.kind === 'key') note.gave(decodeKey(link.payload).segment);
      return true;
    },
    onEnd: (error) => note.ended(error?.code),
  });

const openSegments: Open = async (guard, clock, seed, note) => {
  const stream = await SegmentsStream.open({
    session,
    permitId: 'j',
    seed,
    parameters,
    guard,
    engine,
    clock,
    logger: quiet,
    sendFrame: (frame) => {
      note.gave(new DataView(frame.buffer, frame.byteOffset).getUint32(30));
      return true;
    },
    onTelemetry: () => undefined,
    onFirstTaken: async () => undefined,
    onEnd: (error) => note.ended(error?.code),
  });
  for (let segment = 0; segment < SEGMENTS; segment++) stream.addCell(segment, new Uint8Array(SEGMENT_BYTES));
  return stream;
};

/** Without a limit: the baseline. */
const blind = { acked: 0, consume: () => undefined } as unknown as PaceGuard;

/** An agent that consumes everything it is sent, at a multiple of the pace that the manifest expects. */
async function consume(open: Open, pace: number, guarded: boolean): Promise<Outcome> {
  let now = 0;
  const clock: Clock = { now: () => now, monotonic: () => now };
  const guard = guarded
    ? new PaceGuard({ tenthsOfMs: new Array<number>(SEGMENTS).fill(SECOND), factor: 1, window: WINDOW, clock })
    : blind;
  const seed = known('row 14 seed', 32);
  const machine = machineEnd(seed, session, parameters);
  const given = new Set<number>();
  let end: string | undefined;
  let over = false;
  const giver = await open(guard, clock, copyBytes(seed), {
    gave: (segment) => given.add(segment),
    ended: (code) => {
      end = code;
      over = true;
    },
  });
  let acked = 0;
  await giver.receive(machine.tell({ acked, ready: 0n }));
  while (acked < SEGMENTS && !over) {
    // Sending is asynchronous: the next segment must have arrived before it can be consumed.
    while (!given.has(acked)) await new Promise((resolve) => setImmediate(resolve));
    acked++;
    now += 1_000 / pace;
    await giver.receive(machine.tell({ acked, ready: 0n }));
  }
  // Anything in flight arrives now. Nothing may be sent after that, whatever the agent reports.
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  const before = given.size;
  await giver.receive(machine.tell({ acked, ready: 0n }));
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  expect(given.size).toBe(before);
  await giver.close();
  machine.close();
  return { given: given.size, acked, end };
}

describe.each<[string, Open]>([
  ['keys', openKeys],
  ['segments', openSegments],
])('the %s node', (_, open) => {
  it('baseline: without the bucket an agent at a thousand times the pace gets the whole design', async () => {
    expect(await consume(open, 1_000, false)).toEqual({ given: SEGMENTS, acked: SEGMENTS, end: undefined });
  });

  it.each([1_000, 10, 3, 1.6])(
    'raises the alarm at %f times the expected pace, at most one window ahead',
    async (pace) => {
      const { given, acked, end } = await consume(open, pace, true);
      expect(end).toBe('E_ALARM');
      expect(given).toBeLessThanOrEqual(acked + WINDOW);
      // The bucket: a window and the machine's buffer of five segments, drained at pace - 1.5 of the consumption.
      const drained = Math.ceil(((WINDOW + 5 + 0.25) * pace) / (pace - 1.5)) + 1;
      expect(acked).toBeLessThanOrEqual(Math.min(SEGMENTS, drained));
      expect(acked).toBeLessThan(SEGMENTS);
    },
  );

  it.each([1, 1.4])('sends everything at %f times the expected pace', async (pace) => {
    expect(await consume(open, pace, true)).toEqual({ given: SEGMENTS, acked: SEGMENTS, end: undefined });
  });
});
