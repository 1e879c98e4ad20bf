import { type Bytes, type Clock, systemClock, systemRandom } from '@millrace/base';
import { createEngine, createSender } from '@millrace/live-matrix';
import { reverseKeys, reverseMatrix, type StreamParameters, sealTelemetry, type Telemetry } from '@millrace/protocol';
import { SEGMENT_BYTES } from '@millrace/vault';
import { afterEach, describe, expect, it } from 'vitest';
import { SegmentsStream } from '../src/segments/stream.ts';
import { PaceGuard } from '../src/streaming/pace.ts';

const WINDOW = 4;
const parametersFrom = (from: number): StreamParameters => ({
  object: 'o',
  design: 'd',
  designNonce: systemRandom(16),
  segments: 20,
  from,
  size: 20 * 16_370,
  window: WINDOW,
  order: 16,
  suite: 'turboshake128',
  hints: 'dense',
  layer: 'ctr',
  revisionMs: 1_000,
});
const quiet = { debug: () => undefined } as never;

let stream: SegmentsStream | undefined;
afterEach(() => stream?.close());

/** A stream with all its cells, and the machine's side of its reverse stream. */
async function open(from: number, clock: Clock = systemClock) {
  const parameters = parametersFrom(from);
  const session = systemRandom(16);
  const seed = systemRandom(32);
  const keys = reverseKeys(seed);
  const reverse = createSender({
    parameters: reverseMatrix(parameters),
    sessionId: session,
    seed: keys.seed,
    engine: createEngine(),
  });
  const sent: number[] = [];
  const ends: unknown[] = [];
  const told: { revision: bigint; revisionMs: number }[] = [];
  const guard = new PaceGuard({
    tenthsOfMs: new Array<number>(20).fill(1),
    factor: 1,
    window: WINDOW,
    clock,
    from,
  });
  const opened = await SegmentsStream.open({
    session,
    permitId: 'j',
    seed,
    parameters,
    guard,
    engine: createEngine(),
    clock,
    logger: quiet,
    sendFrame: (frame: Bytes) => sent.push(new DataView(frame.buffer, frame.byteOffset).getUint32(30)) > 0,
    onTelemetry: (_, now) => told.push(now),
    onFirstTaken: async () => undefined,
    onEnd: (error) => ends.push(error?.code),
  });
  stream = opened;
  const bodies = Array.from({ length: 20 }, () => systemRandom(SEGMENT_BYTES));
  for (const [segment, body] of bodies.entries()) if (segment >= from) opened.addCell(segment, body);
  let number = 0;
  const tell = async (telemetry: Telemetry) => {
    const frame = number++;
    await opened.receive(reverse.encode(frame, sealTelemetry(keys.telemetry, frame, telemetry)));
  };
  return { sent, ends, told, tell, tick: () => opened.tick(), bodies };
}

const isWiped = (body: Bytes) => body.every((byte) => byte === 0);

describe('the window', () => {
  it('of a new stream opens when the machine has a table', async () => {
    const { sent, tell } = await open(0);
    expect(sent).toEqual([]);
    await tell({ acked: 0, ready: 0n });
    expect(sent).toEqual([0, 1, 2, 3]);
    await tell({ acked: 2, ready: 0n });
    expect(sent).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('of a resumed stream counts from the segments that the machine has taken, not from those received', async () => {
    const { sent, tell } = await open(10);
    await tell({ acked: 7, ready: 0n });
    expect(sent).toEqual([10]);
    await tell({ acked: 9, ready: 0n });
    expect(sent).toEqual([10, 11, 12]);
    await tell({ acked: 10, ready: 0n });
    expect(sent).toEqual([10, 11, 12, 13]);
  });

  it('of a stream with a full buffer is closed', async () => {
    const { sent, tell } = await open(10);
    await tell({ acked: 6, ready: 0n });
    expect(sent).toEqual([]);
  });
});

describe('an unsolved frame', () => {
  it('is sent again in the next revision, once', async () => {
    const { sent, tell, tick } = await open(0);
    await tell({ acked: 0, ready: 0n });
    await tell({ acked: 0, ready: 0n, resend: [1, 2] });
    tick();
    expect(sent).toEqual([0, 1, 2, 3]);
    await tell({ acked: 0, ready: 1n });
    expect(sent).toEqual([0, 1, 2, 3, 1, 2]);
    await tell({ acked: 1, ready: 1n, resend: [2] });
    await tell({ acked: 1, ready: 2n });
    expect(sent).toEqual([0, 1, 2, 3, 1, 2, 4, 2]);
  });

  it('is kept until the machine reports the segment as received', async () => {
    const { sent, tell, bodies } = await open(0);
    await tell({ acked: 0, ready: 0n });
    expect(bodies.slice(0, 5).map(isWiped)).toEqual([false, false, false, false, false]);
    await tell({ acked: 0, got: 2, ready: 0n });
    expect(bodies.slice(0, 5).map(isWiped)).toEqual([true, true, false, false, false]);
    // A report beyond the sent segments forgets only those that were sent.
    await tell({ acked: 0, got: 20, ready: 0n });
    expect(bodies.slice(0, 5).map(isWiped)).toEqual([true, true, true, true, false]);
    await tell({ acked: 1, got: 20, ready: 1n, resend: [0, 3] });
    await tell({ acked: 1, ready: 2n });
    expect(sent).toEqual([0, 1, 2, 3, 4]);
  });
});

describe('an alarm', () => {
  it('is raised when more frames are requested again than can have been lost', async () => {
    const { ends, tell } = await open(0);
    await tell({ acked: 0, ready: 0n });
    for (let i = 0; i < 17; i++) {
      expect(ends).toEqual([]);
      await tell({ acked: 0, ready: 0n, resend: [i % WINDOW] });
    }
    expect(ends).toEqual([]);
    await tell({ acked: 0, ready: 0n, resend: [1] });
    expect(ends).toEqual(['E_ALARM']);
  });

  it('is raised when segments are acknowledged that were never sent', async () => {
    const { ends, tell } = await open(0);
    await tell({ acked: 0, ready: 0n });
    await tell({ acked: 5, ready: 0n });
    expect(ends).toEqual(['E_ALARM']);
  });
});

describe('the length of a revision', () => {
  /** A clock that only the test moves. */
  const movable = () => {
    const clock = { at: 5_000, now: () => clock.at, monotonic: () => clock.at };
    return clock;
  };

  it('is twice the machine’s table time, within limits, and changes while the stream runs', async () => {
    const clock = movable();
    const { told, tell } = await open(0, clock);
    for (const tableMs of [3, 499, 501, 7_000, 1e9, 700]) await tell({ acked: 0, ready: 0n, tableMs });
    await tell({ acked: 0, ready: 0n });
    expect(told.map(({ revisionMs }) => revisionMs)).toEqual([1_000, 1_000, 1_002, 14_000, 120_000, 1_400, 1_400]);
  });

  it('delays the next revision, and never uses one that the machine is not ready for', async () => {
    const clock = movable();
    const { told, tell, tick } = await open(0, clock);
    const revision = async (ready: bigint, tableMs: number) => {
      await tell({ acked: 0, ready, tableMs });
      tick();
      await tell({ acked: 0, ready });
      return told.at(-1)?.revision;
    };
    expect(await revision(1n, 2_000)).toBe(0n);
    clock.at += 3_900;
    expect(await revision(1n, 2_000)).toBe(0n);
    clock.at += 100;
    expect(await revision(1n, 2_000)).toBe(1n);
    clock.at += 3_600_000;
    expect(await revision(1n, 1)).toBe(1n);
    expect(await revision(2n, 1)).toBe(2n);
    clock.at -= 3_600_000; // set back: the stream continues once the time of a revision has passed again
    expect(await revision(3n, 1)).toBe(2n);
    clock.at += 1_000;
    expect(await revision(3n, 1)).toBe(3n);
  });
});
