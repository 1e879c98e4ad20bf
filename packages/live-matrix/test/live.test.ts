import { concatBytes } from '@millrace/base';
import {
  code,
  type Meddle,
  openEnds,
  outcomes,
  random,
  readAll,
  sendAll,
} from '@millrace/testkit/live-matrix/live-helpers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { claimedRevision } from '../src/frame/header.ts';
import { channelPair, openLiveReceiver, openLiveSender } from '../src/index.ts';
import type { MatrixParameters } from '../src/parameters.ts';
import { cellCapacity, layData, layEnd, readCell } from '../src/stream/cells.ts';
import { decodeNote, encodeNote, type Note } from '../src/stream/notes.ts';
import { decodeAnswer, decodeHello, encodeAnswer, encodeHello } from '../src/stream/opening.ts';

const dense16: MatrixParameters = { suite: 'turboshake128', order: 16, hints: 'dense' };

describe('a live stream', () => {
  it.each<MatrixParameters>([
    dense16,
    { suite: 'keccak256', order: 16, hints: 'dense', blockHints: 50 },
    { suite: 'turboshake128', order: 16, hints: 'sparse', chaffPercent: 30 },
    { suite: 'keccak256', order: 16, hints: 'sparse' },
  ])('carries any bytes in any chunks (%o)', async (parameters) => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 700 }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(
        pieces,
        fc.integer({ min: 8, max: 60 }),
        fc.integer({ min: 2, max: 9 }),
        async (chunks, cell, window) => {
          const ends = openEnds({ parameters, cellBytes: 6 * cell, window, revisionMs: 0, flushMs: 0 });
          const [got] = await Promise.all([readAll(ends.receiver), sendAll(ends.sender, chunks)]);
          expect(got).toEqual(concatBytes(...chunks));
          const [sent, received] = await Promise.all([ends.sender.closed, ends.receiver.closed]);
          expect(sent.bytes).toBe(BigInt(got.length));
          expect(received).toMatchObject({ bytes: sent.bytes, frames: sent.frames });
        },
      ),
      { numRuns: 12 },
    );
  });

  it.each<MatrixParameters>([
    { suite: 'turboshake128', order: 24, hints: 'dense' },
    { suite: 'keccak256', order: 24, hints: 'sparse', chaffPercent: 10 },
  ])('runs at order 24 too (%o)', async (parameters) => {
    const ends = openEnds({ parameters });
    const data = random(200_003);
    const [got] = await Promise.all([readAll(ends.receiver), sendAll(ends.sender, [data])]);
    expect(Buffer.compare(got, data)).toBe(0);
    await ends.receiver.closed;
  });

  it('advances through many revisions, with fresh secrets mixed in', async () => {
    let notes = 0;
    let revision = 0n;
    const ends = openEnds({
      cellBytes: 48,
      window: 8,
      revisionMs: 0,
      there: (message) => {
        if (message[0] === 4) notes++;
        if (message[0] === 3) revision = claimedRevision(message.subarray(1));
        return [message];
      },
    });
    const data: Uint8Array[] = [];
    const chunks = function* () {
      while (revision < 130n) {
        const chunk = random(27);
        data.push(chunk);
        yield chunk;
      }
    };
    const [got] = await Promise.all([readAll(ends.receiver), sendAll(ends.sender, chunks())]);
    expect(got).toEqual(concatBytes(...data));
    expect((await ends.sender.closed).revision).toBeGreaterThanOrEqual(130n);
    // The sender's only notes are its halves of the exchanges, before revisions 64 and 128 (and 192 on a fast run).
    expect(notes).toBeGreaterThanOrEqual(2);
  });

  it('sends a partly filled cell without waiting for more input', async () => {
    const ends = openEnds();
    const writer = ends.sender.writable.getWriter();
    const reader = ends.receiver.readable.getReader();
    for (const line of ['G28\n', 'ok T:210\n']) {
      await writer.write(new TextEncoder().encode(line));
      expect(new TextDecoder().decode((await reader.read()).value)).toBe(line);
    }
    await Promise.all([writer.close(), expect(reader.read()).resolves.toMatchObject({ done: true })]);
  });

  it('has at most its window in flight when nobody reads', async () => {
    let frames = 0;
    const ends = openEnds({
      cellBytes: 300,
      window: 5,
      there: (message) => {
        if (message[0] === 3) frames++;
        return [message];
      },
    });
    let taken = 0;
    const writer = ends.sender.writable.getWriter();
    const capacity = cellCapacity(300);
    const feeding = (async () => {
      for (; taken < 50; taken++) await writer.write(random(capacity));
      await writer.close();
    })();
    while (frames < 5) await new Promise(setImmediate);
    for (let i = 0; i < 50; i++) await new Promise(setImmediate);
    expect(frames).toBe(5);
    // Five in cells, one being written, at most one in the writable's queue.
    expect(taken).toBeLessThanOrEqual(6);
    const [got] = await Promise.all([readAll(ends.receiver), feeding]);
    expect(got.length).toBe(50 * capacity);
  });

  it('closes for the sender only when the receiver has confirmed', async () => {
    let stored = false;
    const ends = openEnds({
      receiving: {
        confirm: async () => {
          stored = true;
        },
      },
    });
    await Promise.all([readAll(ends.receiver), sendAll(ends.sender, [random(10)])]);
    expect(stored).toBe(true);
    const refusing = openEnds({ receiving: { confirm: () => Promise.reject(new Error('disk full: ENOSPC')) } });
    expect(await outcomes(refusing, [random(10)])).toMatchObject({
      sender: 'E_STREAM_STOPPED',
      receiver: 'E_DISK_FULL',
    });
  });
});

describe('a faulty stream', () => {
  const chunks = [random(900)];
  const frameOf = (index: number, change: (frame: Uint8Array) => readonly Uint8Array[]): Meddle => {
    let frame = -1;
    return (message) => {
      if (message[0] === 3) frame++;
      return message[0] === 3 && frame === index ? change(message) : [message];
    };
  };
  const flipped = (message: Uint8Array, at: number) => {
    const copy = message.slice();
    copy[at < 0 ? copy.length + at : at] = (copy.at(at) ?? 0) ^ 1;
    return copy;
  };
  const options = { cellBytes: 300, revisionMs: 0 };

  it('does not start with different secrets', async () => {
    const ends = openEnds({ secret: random(32) });
    expect(await outcomes(ends, chunks)).toEqual({ sender: 'E_STREAM_CUT', receiver: 'E_STREAM_AUTH', got: undefined });
  });

  it('ends at a flipped bit anywhere, and delivers nothing after it', async () => {
    const reference: Uint8Array[] = [];
    const note: Meddle = (message) => {
      reference.push(message);
      return [message];
    };
    await outcomes(openEnds({ ...options, there: note }), chunks);
    const codes = new Set<string>();
    for (const [index, message] of reference.entries()) {
      for (const at of [0, 1, 5, 12, 30, 60, -1].filter((at) => at < message.length)) {
        const there: Meddle = (passing, i) => [i === index ? flipped(passing, at) : passing];
        const { sender, receiver, got } = await outcomes(openEnds({ ...options, there }), chunks);
        expect([sender, receiver, got], `message ${index}, byte ${at}`).not.toContain('whole');
        expect(got).toBeUndefined();
        codes.add(receiver);
      }
    }
    expect([...codes].sort()).toEqual(['E_FRAME_FORMAT', 'E_FRAME_MAC', 'E_FRAME_REVISION', 'E_STREAM_AUTH']);
  });

  it('ends at a flipped bit in the reverse direction', async () => {
    for (const index of [0, 1, 2]) {
      for (const at of [0, 1, 20, -1]) {
        const back: Meddle = (passing, i) => [i === index ? flipped(passing, at) : passing];
        const { sender } = await outcomes(openEnds({ ...options, back }), chunks);
        expect(sender).toMatch(/^E_(FRAME_FORMAT|SEAL|STREAM_AUTH)$/);
      }
    }
  });

  it('distinguishes a cut at any message from the end', async () => {
    // The hello, four cells of data, the end.
    for (let at = 0; at < 6; at++) {
      const { sender, receiver, got } = await outcomes(
        openEnds({ ...options, there: (message, i) => (i === at ? 'cut' : [message]) }),
        chunks,
      );
      expect({ at, receiver, got }).toEqual({ at, receiver: 'E_STREAM_CUT', got: undefined });
      expect(sender).not.toBe('whole');
    }
  });

  it('rejects an omitted or repeated frame', async () => {
    const left = await outcomes(openEnds({ ...options, there: frameOf(1, () => []) }), chunks);
    expect(left).toEqual({ sender: 'E_STREAM_STOPPED', receiver: 'E_FRAME_FORMAT', got: undefined });
    const repeated = await outcomes(openEnds({ ...options, there: frameOf(1, (frame) => [frame, frame]) }), chunks);
    expect(repeated.receiver).toBe('E_FRAME_REPLAY');
    expect(repeated.got).toBeUndefined();
  });

  it('rejects a whole stream replayed to a new receiver of the same secret', async () => {
    const secret = random(32);
    const recorded: Uint8Array[] = [];
    const record: Meddle = (message) => {
      recorded.push(message);
      return [message];
    };
    await outcomes(openEnds({ secret, there: record, receiving: { secret } }), chunks);
    const [near, far] = channelPair();
    const receiver = openLiveReceiver({ channel: far, secret });
    const reading = readAll(receiver);
    void near.readable.pipeTo(new WritableStream()).catch(() => undefined);
    const writer = near.writable.getWriter();
    for (const message of recorded) await writer.write(message).catch(() => undefined);
    await expect(reading).rejects.toEqual(code('E_FRAME_MAC'));
  });

  it('ends at both sides when either one stops', async () => {
    const aborted = openEnds();
    const reading = readAll(aborted.receiver);
    const writer = aborted.sender.writable.getWriter();
    await writer.write(random(10));
    await writer.abort('no more');
    await expect(reading).rejects.toEqual(code('E_STREAM_STOPPED'));
    await expect(aborted.sender.closed).rejects.toEqual(code('E_STREAM_STOPPED'));

    const cancelled = openEnds({ cellBytes: 300 });
    const sending = sendAll(
      cancelled.sender,
      Array.from({ length: 100 }, () => random(300)),
    );
    const reader = cancelled.receiver.readable.getReader();
    await reader.read();
    await reader.cancel('enough');
    await expect(sending).rejects.toEqual(code('E_STREAM_STOPPED'));

    for (const side of ['sender', 'receiver'] as const) {
      const controller = new AbortController();
      const { signal } = controller;
      const ends = openEnds(side === 'sender' ? { signal } : { receiving: { signal } });
      const writer = ends.sender.writable.getWriter();
      writer.closed.catch(() => undefined);
      const reader = ends.receiver.readable.getReader();
      await Promise.all([writer.write(random(10)), reader.read()]);
      controller.abort();
      await expect(reader.read()).rejects.toEqual(code('E_STREAM_STOPPED'));
      await expect(ends.sender.closed).rejects.toEqual(code('E_STREAM_STOPPED'));
    }
  });

  it('rejects invalid options', () => {
    const [channel] = channelPair();
    const secret = random(32);
    expect(() => openLiveSender({ channel, secret: random(16) })).toThrow(code('E_INPUT'));
    expect(() => openLiveReceiver({ channel, secret: random(31) })).toThrow(code('E_INPUT'));
    expect(() => openLiveSender({ channel, secret, cellBytes: 100 })).toThrow(code('E_INPUT'));
    expect(() => openLiveSender({ channel, secret, window: 1 })).toThrow(code('E_INPUT'));
    expect(() => openLiveSender({ channel, secret, parameters: { ...dense16, chaffPercent: 5 } })).toThrow(
      code('E_INPUT'),
    );
  });

  it('rejects an order that the receiver does not accept', async () => {
    const ends = openEnds({ parameters: { ...dense16, order: 24 }, receiving: { orders: [16] } });
    expect((await outcomes(ends, chunks)).receiver).toBe('E_FRAME_FORMAT');
  });
});

describe('every decoder', () => {
  const bytes = fc.uint8Array({ maxLength: 200 });
  const coded = (decode: () => unknown) => {
    try {
      decode();
      return 'accepted';
    } catch (error) {
      return (error as { code?: string }).code ?? `not coded: ${String(error)}`;
    }
  };

  it('rejects any bytes with a code', () => {
    const secret = random(32);
    const hello = encodeHello({ parameters: dense16, cellBytes: 300, window: 4, point: random(65) }, secret);
    const answer = encodeAnswer(random(65), hello, secret);
    const mangled = (good: Uint8Array) =>
      fc.tuple(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 })).map(([at, change]) => {
        const copy = good.slice();
        copy[at] = (copy[at] ?? 0) ^ change;
        return copy;
      });
    const refused = /^E_(FRAME_FORMAT|STREAM_AUTH)$/;
    fc.assert(
      fc.property(fc.oneof(bytes, mangled(hello)), (input) => {
        expect(coded(() => decodeHello(input, secret))).toMatch(refused);
      }),
      { numRuns: 3000 },
    );
    fc.assert(
      fc.property(fc.oneof(bytes, mangled(answer)), (input) => {
        expect(coded(() => decodeAnswer(input, hello, secret))).toMatch(refused);
      }),
      { numRuns: 3000 },
    );
    expect(coded(() => decodeHello(hello, secret))).toBe('accepted');
    expect(coded(() => decodeAnswer(answer, hello, secret))).toBe('accepted');
  });

  it('accepts exactly the allowed values in a hello by a holder of the secret', () => {
    const secret = random(32);
    const fields = fc.record({
      cellBytes: fc.nat(2 ** 32 - 1),
      window: fc.nat(65_535),
      order: fc.nat(255),
    });
    fc.assert(
      fc.property(fields, ({ cellBytes, window, order }) => {
        const parameters = { ...dense16, order: order as 16 };
        const message = encodeHello({ parameters, cellBytes, window, point: random(65) }, secret);
        const allowed =
          (order === 16 || order === 24) &&
          window >= 2 &&
          window <= 256 &&
          cellBytes >= 48 &&
          cellBytes <= 65_538 &&
          cellBytes % 6 === 0;
        expect(coded(() => decodeHello(message, secret))).toBe(allowed ? 'accepted' : 'E_FRAME_FORMAT');
      }),
      { numRuns: 2000 },
    );
  });

  it('round-trips notes and cells, and accepts nothing else', () => {
    const note: fc.Arbitrary<Note> = fc.oneof(
      fc.record({
        kind: fc.constant('state' as const),
        ready: fc.bigInt(0n, 2n ** 64n - 1n),
        taken: fc.nat(2 ** 32 - 1),
        tableMs: fc.nat(2 ** 32 - 1),
        resend: fc.array(fc.nat(2 ** 32 - 1), { maxLength: 256 }),
      }),
      fc.record({
        kind: fc.constant('point' as const),
        revision: fc.bigInt(0n, 2n ** 64n - 1n),
        point: fc.uint8Array({ minLength: 65, maxLength: 65 }),
      }),
      fc.record({ kind: fc.constant('done' as const), total: fc.bigInt(0n, 2n ** 64n - 1n) }),
      fc.constant({ kind: 'stop' } as const),
    );
    fc.assert(
      fc.property(note, (one) => {
        expect(decodeNote(encodeNote(one))).toEqual(one);
      }),
    );
    fc.assert(
      fc.property(bytes, (input) => {
        const outcome = coded(() => decodeNote(input));
        if (outcome === 'accepted') expect(encodeNote(decodeNote(input))).toEqual(new Uint8Array(input));
        else expect(outcome).toBe('E_FRAME_FORMAT');
        expect(coded(() => readCell(input.slice()))).toMatch(/^(accepted|E_FRAME_FORMAT)$/);
      }),
      { numRuns: 5000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: cellCapacity(600) }), (data) => {
        const plain = layData(600, data);
        expect((plain.length + 16) % 6).toBe(0);
        expect(plain.length + 16).toBeLessThanOrEqual(600);
        expect(readCell(plain)).toEqual({ kind: 'data', data: new Uint8Array(data) });
      }),
    );
    expect(readCell(layEnd(48, 2n ** 40n))).toEqual({ kind: 'end', total: 2n ** 40n });
  });
});
