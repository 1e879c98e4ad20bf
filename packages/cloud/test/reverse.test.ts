import { systemRandom } from '@millrace/base';
import { createEngine, createSender, HEADER_BYTES, type Sender } from '@millrace/live-matrix';
import {
  mixSecret,
  reverseKeys,
  reverseMatrix,
  type StreamParameters,
  sealTelemetry,
  type Telemetry,
} from '@millrace/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ReverseStream } from '../src/streaming/reverse.ts';

const parameters: StreamParameters = {
  object: `${'a'.repeat(32)}-1`,
  design: 'b'.repeat(32),
  designNonce: new Uint8Array(16),
  segments: 100,
  from: 0,
  size: 1_638_600,
  window: 8,
  order: 16,
  suite: 'keccak256',
  hints: 'dense',
  layer: 'ctr',
  revisionMs: 1_000,
};
const session = systemRandom(16);
const engine = createEngine();
let stream: ReverseStream;
/** The machine's side. */
let sender: Sender;
let telemetryKey: Uint8Array;
let number: number;

beforeEach(async () => {
  const seed = systemRandom(32);
  const keys = reverseKeys(seed);
  stream = await ReverseStream.open(session, seed, parameters, engine);
  sender = createSender({ parameters: reverseMatrix(parameters), sessionId: session, seed: keys.seed, engine });
  telemetryKey = keys.telemetry;
  number = 0;
});
afterEach(async () => {
  sender.close();
  await stream.close();
});

function frame(acked: number): Uint8Array {
  const telemetry: Telemetry = { acked, got: acked, ready: sender.revision };
  return sender.encode(number, sealTelemetry(telemetryKey, number++, telemetry));
}

/** A valid frame whose revision was overwritten in transit. */
function claiming(revision: bigint, genuine = frame(0)): Uint8Array {
  const junk = new Uint8Array(genuine);
  new DataView(junk.buffer).setBigUint64(22, revision);
  return junk;
}

const advance = (to: bigint, secret?: Uint8Array) => {
  while (sender.revision < to) {
    if (secret !== undefined && (sender.revision + 1n) % 64n === 0n) sender.mix(secret);
    sender.advance();
  }
};

describe('a claimed revision changes nothing before the MAC verifies', () => {
  it('rejects 10,000 frames that claim growing revisions; the stream continues', async () => {
    expect((await stream.receive(frame(1))).acked).toBe(1);
    const genuine = frame(0);
    for (let i = 0; i < 10_000; i++) {
      const junk = claiming(BigInt(1 + (i % 70)), genuine);
      const at = HEADER_BYTES + (i % (junk.length - HEADER_BYTES));
      if (i % 2 === 0) junk[at] = (junk[at] ?? 0) ^ (1 + (i % 255));
      const refused = { code: i % 70 < 4 ? 'E_FRAME_MAC' : 'E_FRAME_REVISION' };
      await expect(stream.receive(junk)).rejects.toMatchObject(refused);
    }
    expect((await stream.receive(frame(2))).acked).toBe(2); // still of revision 0
    advance(1n);
    expect((await stream.receive(frame(3))).acked).toBe(3);
    advance(5n);
    expect((await stream.receive(frame(4))).acked).toBe(4);
  });

  it('rejects a claimed revision that needs a fresh secret', async () => {
    for (let revision = 1n; revision < 64n; revision++) {
      advance(revision);
      await stream.receive(frame(0));
    }
    const secret = mixSecret(session, 64n, systemRandom(32));
    await expect(stream.receive(claiming(64n))).rejects.toMatchObject({ code: 'E_REVISION_MIX' });
    stream.mixAt(64n, secret);
    for (const revision of [64n, 65n, 66n, 67n])
      await expect(stream.receive(claiming(revision))).rejects.toMatchObject({ code: 'E_FRAME_MAC' });
    await expect(stream.receive(claiming(68n))).rejects.toMatchObject({ code: 'E_FRAME_REVISION' });
    expect((await stream.receive(frame(5))).acked).toBe(5);
    advance(66n, secret);
    expect((await stream.receive(frame(6))).acked).toBe(6);
    await expect(stream.receive(claiming(67n))).rejects.toMatchObject({ code: 'E_FRAME_MAC' });
  });

  it('rejects a valid frame of a revision too far ahead, and a repeated frame', async () => {
    const first = frame(1);
    await stream.receive(first);
    await expect(stream.receive(first)).rejects.toMatchObject({ code: 'E_FRAME_REPLAY' });
    advance(5n);
    await expect(stream.receive(frame(2))).rejects.toMatchObject({ code: 'E_FRAME_REVISION' });
  });
});
