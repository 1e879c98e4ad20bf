import { createHash, randomBytes } from 'node:crypto';
import { type Bytes, copyBytes } from '@millrace/base';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createEngine } from '../src/engines/choose.ts';
import { frameMac } from '../src/frame/mac.ts';
import { nodeHmac } from '../src/frame/node-hmac.ts';
import { createReceiver, type Receiver } from '../src/node-receiver.ts';
import { createSender, type Sender } from '../src/node-sender.ts';
import type { MatrixParameters } from '../src/parameters.ts';
import { Ratchet } from '../src/ratchet.ts';

const engine = createEngine();
const sessionId = randomBytes(16);
const seed = randomBytes(32);
const code = (name: string) => expect.objectContaining({ code: name });

/** Sealed segments are AEAD ciphertext, so any bytes will do. */
function cellOf(text: string, length: number): Bytes {
  return copyBytes(createHash('shake256', { outputLength: length }).update(text).digest());
}

async function pair(parameters: MatrixParameters): Promise<{ sender: Sender; receiver: Receiver }> {
  return {
    sender: createSender({ parameters, sessionId, seed, engine }),
    receiver: await createReceiver({ parameters, sessionId, seed }),
  };
}

const small: readonly MatrixParameters[] = [
  { suite: 'turboshake128', order: 16, hints: 'dense' },
  { suite: 'keccak256', order: 16, hints: 'dense', blockHints: 40 },
  { suite: 'turboshake128', order: 16, hints: 'sparse' },
  { suite: 'turboshake128', order: 16, hints: 'sparse', chaffPercent: 60, blockHints: 100 },
];

describe.each(small)('frames of order 16 (%o)', (parameters) => {
  it('carry any cell', async () => {
    const { sender, receiver } = await pair(parameters);
    let number = 0;
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 700 }), async (half) => {
        const cell = new Uint8Array([...half, ...half]);
        const frame = sender.encode(number, cell);
        expect(await receiver.decode(frame)).toEqual({ revision: 0n, frame: number, cell });
        number++;
      }),
      { numRuns: 60 },
    );
    await receiver.close();
  });

  it('carry the largest cell', async () => {
    const { sender, receiver } = await pair(parameters);
    const cell = cellOf('largest', 65_538);
    expect((await receiver.decode(sender.encode(2 ** 32 - 1, cell))).cell).toEqual(cell);
    expect(() => sender.encode(1, new Uint8Array(65_540))).toThrow(code('E_TOO_LARGE'));
    expect(() => sender.encode(1, new Uint8Array(3))).toThrow(code('E_INPUT'));
    expect(() => sender.encode(1, new Uint8Array(0))).toThrow(code('E_INPUT'));
    expect(() => sender.encode(2 ** 32, new Uint8Array(2))).toThrow(code('E_INPUT'));
    await receiver.close();
  });
});

describe('frames of order 24', () => {
  const dense: MatrixParameters = { suite: 'keccak256', order: 24, hints: 'dense' };
  const sparse: MatrixParameters = { suite: 'keccak256', order: 24, hints: 'sparse' };
  let receiver: Receiver;

  beforeAll(async () => {
    receiver = await createReceiver({ parameters: dense, sessionId, seed, threads: 2 });
  });
  afterAll(() => receiver.close());

  it('carry segments of 16,386 bytes at no more than 1.068 times their size', async () => {
    const sender = createSender({ parameters: dense, sessionId, seed, engine });
    const frames = Array.from({ length: 20 }, (_, i) => sender.encode(i, cellOf(`dense ${i}`, 16_386)));
    const decoded = await Promise.all(frames.map((frame) => receiver.decode(frame)));
    for (const [i, { frame, cell }] of decoded.entries()) {
      expect(frame).toBe(i);
      expect(Buffer.compare(cell, cellOf(`dense ${i}`, 16_386))).toBe(0);
      expect((frames[i]?.length ?? 0) / 16_386).toBeLessThanOrEqual(1.068);
    }
  });

  it('carry them with sparse hints at no more than 1.345 times their size, chaff winnowed', async () => {
    const parameters = { ...sparse, suite: 'turboshake128', chaffPercent: 30 } as const;
    const winnower = await createReceiver({ parameters, sessionId, seed, threads: 2 });
    const plain = createSender({ parameters: sparse, sessionId, seed, engine }).encode(0, cellOf('sparse', 16_386));
    expect(plain.length / 16_386).toBeLessThanOrEqual(1.345);
    const sender = createSender({ parameters, sessionId, seed, engine });
    const cells = Array.from({ length: 10 }, (_, i) => cellOf(`sparse ${i}`, 16_386));
    for (const [i, cell] of cells.entries()) {
      expect(Buffer.compare((await winnower.decode(sender.encode(i, cell))).cell, cell)).toBe(0);
    }
    await winnower.close();
  });
});

describe('an invalid frame', () => {
  const parameters: MatrixParameters = { suite: 'turboshake128', order: 16, hints: 'dense' };
  const cell = cellOf('wrong', 600);
  let sender: Sender;
  let receiver: Receiver;
  let macKey: Uint8Array;

  beforeAll(async () => {
    ({ sender, receiver } = await pair(parameters));
    macKey = new Ratchet(seed, 0n).keys.mac;
  });
  afterAll(() => receiver.close());

  /** Signs a changed frame again, which needs the session's key. */
  function sealAgain(frame: Bytes): Bytes {
    frame.set(frameMac(nodeHmac, macKey, frame.subarray(0, -16)), frame.length - 16);
    return frame;
  }

  it('is rejected with its code when any byte is altered', async () => {
    const frame = sender.encode(100, cell);
    for (let at = 0; at < frame.length; at++) {
      const altered = copyBytes(frame);
      altered[at] = (altered[at] ?? 0) ^ 0x20;
      const expected = at < 6 || at === 34 || at === 35 ? 'E_FRAME_FORMAT' : /E_FRAME_(MAC|FORMAT|REVISION)/;
      await expect(receiver.decode(altered)).rejects.toMatchObject({ code: expect.stringMatching(expected) });
    }
    expect((await receiver.decode(frame)).cell).toEqual(cell);
  });

  it('is rejected by MAC or format when hints are swapped or dropped', async () => {
    const frame = sender.encode(101, cell);
    const swapped = copyBytes(frame);
    swapped.set(frame.subarray(40, 42), 38);
    swapped.set(frame.subarray(38, 40), 40);
    await expect(receiver.decode(swapped)).rejects.toEqual(code('E_FRAME_MAC'));
    const dropped = new Uint8Array([...frame.subarray(0, 38), ...frame.subarray(40)]);
    await expect(receiver.decode(dropped)).rejects.toEqual(code('E_FRAME_FORMAT'));
    new DataView(dropped.buffer).setUint16(34, 299);
    await expect(receiver.decode(dropped)).rejects.toEqual(code('E_FRAME_MAC'));
    await expect(receiver.decode(frame.subarray(0, 20))).rejects.toEqual(code('E_FRAME_FORMAT'));
    await expect(receiver.decode(new Uint8Array(0))).rejects.toEqual(code('E_FRAME_FORMAT'));
  });

  it('has no solution when hints are swapped by a holder of the key', async () => {
    const frame = sender.encode(102, cell);
    const swapped = copyBytes(frame);
    swapped.set(frame.subarray(40, 42), 38);
    swapped.set(frame.subarray(38, 40), 40);
    await expect(receiver.decode(sealAgain(swapped))).rejects.toEqual(code('E_FRAME_UNSOLVED'));
    // The frame was not accepted, so its number may be used again.
    expect((await receiver.decode(frame)).frame).toBe(102);
  });

  it('is a replay when it is offered twice, also while the first one is being resolved', async () => {
    const frame = sender.encode(103, cell);
    const [first, second] = await Promise.allSettled([receiver.decode(frame), receiver.decode(frame)]);
    expect([first?.status, second?.status]).toEqual(['fulfilled', 'rejected']);
    await expect(receiver.decode(frame)).rejects.toEqual(code('E_FRAME_REPLAY'));
    expect(() => sender.encode(103, cell)).toThrow(code('E_FRAME_REPLAY'));
  });

  it('is rejected when of another session, suite, order or kind', async () => {
    const other = (change: Partial<MatrixParameters>, id = sessionId) =>
      createSender({ parameters: { ...parameters, ...change }, sessionId: id, seed, engine }).encode(0, cell);
    await expect(receiver.decode(other({}, randomBytes(16)))).rejects.toEqual(code('E_FRAME_MAC'));
    for (const change of [{ suite: 'keccak256' }, { order: 24 }, { hints: 'sparse' }] as const) {
      await expect(receiver.decode(other(change))).rejects.toEqual(code('E_FRAME_FORMAT'));
    }
    const stranger = createSender({ parameters, sessionId, seed: randomBytes(32), engine });
    await expect(receiver.decode(stranger.encode(0, cell))).rejects.toEqual(code('E_FRAME_MAC'));
  });

  it('is rejected when random, with or without a valid header', async () => {
    const start = sender.encode(104, cell).subarray(0, 38);
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 0, max: 38 }), async (noise, keep) => {
        const frame = new Uint8Array([...start.subarray(0, keep), ...noise]);
        await expect(receiver.decode(frame)).rejects.toMatchObject({ code: expect.stringMatching(/^E_FRAME_/) });
      }),
      { numRuns: 500 },
    );
  });
});

describe('revisions', () => {
  const parameters: MatrixParameters = { suite: 'turboshake128', order: 16, hints: 'dense' };
  const cell = cellOf('revisions', 200);

  it('accept the current and the previous one; a frame recorded two revisions earlier is rejected', async () => {
    const { sender, receiver } = await pair(parameters);
    const recorded = sender.encode(0, cell);
    const late = sender.encode(1, cell);
    await receiver.prepareNext();
    expect(receiver.ready).toBe(1n);
    sender.advance();
    expect((await receiver.decode(late)).revision).toBe(0n);
    expect((await receiver.decode(sender.encode(2, cell))).revision).toBe(1n);
    await receiver.prepareNext();
    await expect(receiver.decode(recorded)).rejects.toEqual(code('E_FRAME_REVISION'));
    sender.advance();
    sender.advance();
    await expect(receiver.decode(sender.encode(0, cell))).rejects.toEqual(code('E_FRAME_REVISION'));
    await receiver.close();
    await expect(receiver.decode(recorded)).rejects.toEqual(code('E_STATE'));
  });

  it('allow an unsolved frame again in a later revision, but not an accepted one', async () => {
    const { sender, receiver } = await pair(parameters);
    await receiver.decode(sender.encode(7, cell));
    await receiver.prepareNext();
    sender.advance();
    await expect(receiver.decode(sender.encode(7, cell))).rejects.toEqual(code('E_FRAME_REPLAY'));
    expect((await receiver.decode(sender.encode(8, cell))).cell).toEqual(cell);
    await receiver.close();
  });

  it('stop at a multiple of 64 until both sides have mixed in a fresh secret', async () => {
    const options = { parameters, sessionId, seed, firstRevision: 62n };
    const sender = createSender({ ...options, engine });
    const receiver = await createReceiver(options);
    expect(() => sender.mix(seed)).toThrow(code('E_STATE'));
    await receiver.prepareNext();
    sender.advance();
    expect(() => sender.advance()).toThrow(code('E_REVISION_MIX'));
    await expect(receiver.prepareNext()).rejects.toEqual(code('E_REVISION_MIX'));
    expect((await receiver.decode(sender.encode(0, cell))).revision).toBe(63n);
    const secret = randomBytes(32);
    sender.mix(secret);
    receiver.mix(secret);
    expect(() => sender.mix(secret)).toThrow(code('E_STATE'));
    sender.advance();
    await receiver.prepareNext();
    expect((await receiver.decode(sender.encode(1, cell))).revision).toBe(64n);
    await receiver.close();
  });

  it('differ after a different fresh secret', async () => {
    const options = { parameters, sessionId, seed, firstRevision: 63n };
    const sender = createSender({ ...options, engine });
    const receiver = await createReceiver(options);
    sender.mix(new Uint8Array(32).fill(1));
    receiver.mix(new Uint8Array(32).fill(2));
    sender.advance();
    await receiver.prepareNext();
    await expect(receiver.decode(sender.encode(0, cell))).rejects.toEqual(code('E_FRAME_MAC'));
    await receiver.close();
  });

  it('end when the receiver is aborted', async () => {
    const abort = new AbortController();
    const receiver = await createReceiver({ parameters, sessionId, seed, signal: abort.signal });
    abort.abort();
    await expect(receiver.prepareNext()).rejects.toEqual(code('E_STATE'));
    await expect(createReceiver({ parameters, sessionId, seed, signal: abort.signal })).rejects.toThrow();
  });
});
