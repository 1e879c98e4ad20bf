import { type Bytes, systemClock, systemRandom } from '@millrace/base';
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
  revisionMs: 1,
});
const quiet = { debug: () => undefined } as never;

let stream: SegmentsStream | undefined;
afterEach(() => stream?.close());

/** A stream whose cells are all here, and the machine's end of its reverse stream. */
async function open(from: number) {
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
  const guard = new PaceGuard({
    tenthsOfMs: new Array<number>(20).fill(1),
    factor: 1,
    window: WINDOW,
    clock: systemClock,
    from,
  });
  const opened = await SegmentsStream.open({
    session,
    jti: 'j',
    seed,
    parameters,
    guard,
    engine: createEngine(),
    clock: systemClock,
    logger: quiet,
    sendFrame: (frame: Bytes) => sent.push(new DataView(frame.buffer, frame.byteOffset).getUint32(30)) > 0,
    onTelemetry: () => undefined,
    onEnd: (error) => ends.push(error?.code),
  });
  stream = opened;
  for (let segment = from; segment < 20; segment++) opened.addCell(segment, systemRandom(SEGMENT_BYTES));
  let number = 0;
  const tell = async (telemetry: Telemetry) => {
    const frame = number++;
    await opened.receive(reverse.encode(frame, sealTelemetry(keys.telemetry, frame, telemetry)));
  };
  return { sent, ends, tell };
}

describe('the window', () => {
  it('of a new stream begins when the machine has a table', async () => {
    const { sent, tell } = await open(0);
    expect(sent).toEqual([]);
    await tell({ acked: 0, ready: 0n });
    expect(sent).toEqual([0, 1, 2, 3]);
    await tell({ acked: 2, ready: 0n });
    expect(sent).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('of a resumed one is counted from what the machine has taken, not from what it has got', async () => {
    const { sent, tell } = await open(10);
    await tell({ acked: 7, ready: 0n });
    expect(sent).toEqual([10]);
    await tell({ acked: 9, ready: 0n });
    expect(sent).toEqual([10, 11, 12]);
    await tell({ acked: 10, ready: 0n });
    expect(sent).toEqual([10, 11, 12, 13]);
  });

  it('of one whose buffer is full gives nothing', async () => {
    const { sent, tell } = await open(10);
    await tell({ acked: 6, ready: 0n });
    expect(sent).toEqual([]);
  });
});

describe('an alarm', () => {
  it('comes when more is asked for again than can have been lost', async () => {
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

  it('comes when segments are acknowledged that were never sent', async () => {
    const { ends, tell } = await open(0);
    await tell({ acked: 0, ready: 0n });
    await tell({ acked: 5, ready: 0n });
    expect(ends).toEqual(['E_ALARM']);
  });
});
