import { type Bytes, concatBytes, copyBytes, systemClock } from '@millrace/base';
import { KeysStream, PaceGuard, SegmentsStream } from '@millrace/cloud/parts';
import { createEngine } from '@millrace/live-matrix';
import { decodeKey, decodeLink, type StreamParameters } from '@millrace/protocol';
import { known } from '@millrace/testkit/attacks/known';
import { machineEnd } from '@millrace/testkit/attacks/machine-end';
import { SEGMENT_BYTES } from '@millrace/vault';
import { describe, expect, it } from 'vitest';

// Row 17, designs that fit into a window: an operator cuts the link before the machine has acknowledged anything, and
// the agent starts again. A session from segment 0 never gets a whole design of more than one segment. After the first
// acknowledgement no session may start there (tests/e2e/second-copy.test.ts).

const WINDOW = 4;
const session = known('row 17 session', 16);
const engine = createEngine();
const quiet = { debug: () => undefined } as never;
const turns = async () => {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
};

const parametersOf = (segments: number): StreamParameters => ({
  object: 'o',
  design: 'd',
  designNonce: known('row 17 nonce', 16),
  segments,
  from: 0,
  size: segments * 16_370,
  window: WINDOW,
  order: 16,
  suite: 'turboshake128',
  hints: 'dense',
  layer: 'ctr',
  revisionMs: 1,
});

interface Giver {
  receive(frame: Bytes): Promise<void>;
  close(): Promise<void>;
}
type Open = (parameters: StreamParameters, seed: Bytes, gave: (segment: number) => void) => Promise<Giver>;

const guardOf = ({ segments }: StreamParameters) =>
  new PaceGuard({ tenthsOfMs: new Array<number>(segments).fill(1), factor: 1, window: WINDOW, clock: systemClock });

const openKeys: Open = (parameters, seed, gave) =>
  KeysStream.open({
    session,
    seed,
    parameters,
    context: { enc: new Uint8Array(65), seal: async (plain) => concatBytes(plain, new Uint8Array(16)) },
    guard: guardOf(parameters),
    engine,
    clock: systemClock,
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
      if (link.kind === 'key') gave(decodeKey(link.payload).segment);
      return true;
    },
    onEnd: () => undefined,
  });

/** Has all cells, so that only the node itself limits what is sent. */
const openSegments = async (
  parameters: StreamParameters,
  seed: Bytes,
  gave: (segment: number) => void,
  onFirstTaken: () => Promise<void> = async () => undefined,
): Promise<Giver> => {
  const stream = await SegmentsStream.open({
    session,
    permitId: 'j',
    seed,
    parameters,
    guard: guardOf(parameters),
    engine,
    clock: systemClock,
    logger: quiet,
    sendFrame: (frame) => {
      gave(new DataView(frame.buffer, frame.byteOffset).getUint32(30));
      return true;
    },
    onTelemetry: () => undefined,
    onFirstTaken,
    onEnd: () => undefined,
  });
  for (let segment = 0; segment < parameters.segments; segment++)
    stream.addCell(segment, new Uint8Array(SEGMENT_BYTES));
  return stream;
};

describe.each<[string, Open]>([
  ['keys', openKeys],
  ['segments', openSegments],
])('the %s node', (_, open) => {
  it.each([2, 3, 4, 5, 6, 7, 8, 12])(
    'sends at most half of %i segments before the first acknowledgement, then a window',
    async (segments) => {
      const parameters = parametersOf(segments);
      const seed = known('row 17 seed', 32);
      const machine = machineEnd(seed, session, parameters);
      const given = new Set<number>();
      const giver = await open(parameters, copyBytes(seed), (segment) => given.add(segment));
      await giver.receive(machine.tell({ acked: 0, ready: 0n }));
      await turns();
      expect(given.size).toBe(Math.min(WINDOW, segments >> 1));
      await giver.receive(machine.tell({ acked: 0, ready: 0n }));
      await turns();
      expect(given.size).toBe(Math.min(WINDOW, segments >> 1));
      await giver.receive(machine.tell({ acked: 1, ready: 0n }));
      await turns();
      expect(given.size).toBe(Math.min(segments, 1 + WINDOW));
      await giver.close();
      machine.close();
    },
  );

  it('sends the only segment of a design when the machine is connected', async () => {
    const parameters = parametersOf(1);
    const seed = known('row 17 seed', 32);
    const machine = machineEnd(seed, session, parameters);
    const given: number[] = [];
    const giver = await open(parameters, copyBytes(seed), (segment) => given.push(segment));
    await turns();
    expect(given).toEqual([]);
    await giver.receive(machine.tell({ acked: 0, ready: 0n }));
    await turns();
    expect(given).toEqual([0]);
    await giver.close();
    machine.close();
  });
});

it('the segments node sends more than half only after the machine’s start is durable', async () => {
  const parameters = parametersOf(6);
  const seed = known('row 17 seed', 32);
  const machine = machineEnd(seed, session, parameters);
  const given = new Set<number>();
  let written: () => void = () => undefined;
  const giver = await openSegments(
    parameters,
    copyBytes(seed),
    (segment) => given.add(segment),
    () => new Promise((resolve) => (written = resolve)),
  );
  await giver.receive(machine.tell({ acked: 0, ready: 0n }));
  const taking = giver.receive(machine.tell({ acked: 1, ready: 0n }));
  await turns();
  await giver.receive(machine.tell({ acked: 2, ready: 0n }));
  expect(given.size).toBe(3);
  written();
  await taking;
  expect(given.size).toBe(6);
  await giver.close();
  machine.close();
});
