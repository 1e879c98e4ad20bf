import { connect } from 'node:net';
import { concatBytes, systemRandom } from '@millrace/base';
import { generateP256Key, keyName } from '@millrace/identity';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_MESSAGE_BYTES, MessageJoiner, withLength } from '../src/framing.ts';
import { decodeHandshake, encodeHandshake } from '../src/handshake.ts';
import {
  codeCaller,
  codeDigits,
  codeResponder,
  connectToPeer,
  keyCaller,
  keyResponder,
  newCode,
  parseAddress,
} from '../src/index.ts';
import { between, code, here, listen, meet, random } from './helpers.ts';

const right = '471-209-8835';
const wrong = '471-209-8836';

describe('a code', () => {
  it('has ten uniformly distributed digits', () => {
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 2_000; i++) {
      const text = newCode(systemRandom);
      expect(text).toMatch(/^\d{3}-\d{3}-\d{4}$/);
      for (const digit of codeDigits(text)) counts[Number(digit)] = (counts[Number(digit)] ?? 0) + 1;
    }
    // 20,000 digits: 2,000 of each, standard deviation 42.
    for (const count of counts) expect(Math.abs(count - 2_000)).toBeLessThan(300);
  });

  it('is accepted in the forms that people type', () => {
    expect(codeDigits(' 471 209-8835\n')).toBe('4712098835');
    for (const text of ['', '471-209-883', '471-209-88355', '471-209-883x']) {
      expect(() => codeDigits(text)).toThrow(code('E_INPUT'));
    }
  });

  it('gives both ends one secret, a new one every time', async () => {
    const first = await meet(await codeResponder(right), codeCaller('4712098835'));
    expect(first.sender.secret).toEqual(first.receiver.secret);
    expect(first.sender.secret).toHaveLength(32);
    const second = await meet(await codeResponder(right), codeCaller(right));
    expect(second.sender.secret).not.toEqual(first.sender.secret);
    for (const peer of [first, second].flatMap(({ sender, receiver }) => [sender, receiver])) {
      await peer.channel.writable.abort();
    }
  });

  it('that is wrong is rejected; after a few attempts the listener ends', async () => {
    const refused: string[] = [];
    const responder = await codeResponder(right, 3);
    const listening = await listen(responder, { onRefused: (_, error) => refused.push(error.code) });
    for (let i = 0; i < 3; i++) {
      const call = connectToPeer({ to: here(listening.port), caller: codeCaller(wrong) });
      await expect(call).rejects.toEqual(code('E_STREAM_AUTH'));
    }
    await expect(listening.peer).rejects.toEqual(code('E_STREAM_AUTH'));
    expect(refused).toHaveLength(3);
    // The correct code is too late too.
    const late = connectToPeer({ to: here(listening.port), caller: codeCaller(right) });
    await expect(late).rejects.toEqual(code('E_UNAVAILABLE'));
  });

  it('still works after fewer wrong attempts, and for one caller only', async () => {
    const listening = await listen(await codeResponder(right, 3));
    const guess = connectToPeer({ to: here(listening.port), caller: codeCaller(wrong) });
    await expect(guess).rejects.toEqual(code('E_STREAM_AUTH'));
    const caller = await connectToPeer({ to: here(listening.port), caller: codeCaller(right) });
    expect((await listening.peer).secret).toEqual(caller.secret);
    const second = connectToPeer({ to: here(listening.port), caller: codeCaller(right) });
    await expect(second).rejects.toEqual(code('E_UNAVAILABLE'));
    await caller.channel.writable.abort();
    await (await listening.peer).channel.writable.abort();
  });

  it('counts an attempt when it is answered, also when the caller then disconnects', async () => {
    const responder = await codeResponder(right, 1);
    const listening = await listen(responder);
    const way = await between(listening.port, (piece, from) => (from === 'listener' ? 'cut' : piece));
    await expect(connectToPeer({ to: here(way.port), caller: codeCaller(right) })).rejects.toEqual(
      code('E_STREAM_CUT'),
    );
    await expect(listening.peer).rejects.toEqual(code('E_STREAM_AUTH'));
    way.close();
  });

  it('is not revealed to a listener that does not know it', async () => {
    const listening = await listen(await codeResponder(wrong));
    let said = 0;
    const way = await between(listening.port, (piece, from) => {
      if (from === 'caller') said++;
      return piece;
    });
    await expect(connectToPeer({ to: here(way.port), caller: codeCaller(right) })).rejects.toEqual(
      code('E_STREAM_AUTH'),
    );
    expect(said).toBe(1); // the first message only, which is blinded
    way.close();
  });
});

describe('keys', () => {
  const [sending, receiving, other] = [generateP256Key(), generateP256Key(), generateP256Key()];
  const name = (key: typeof other) => keyName(key.publicKey);

  it('give both ends one secret, a new one every time', async () => {
    const once = () =>
      meet(keyResponder({ key: receiving, peer: name(sending) }), keyCaller({ key: sending, peer: name(receiving) }));
    const [first, second] = [await once(), await once()];
    expect(first.sender.secret).toEqual(first.receiver.secret);
    expect(second.sender.secret).not.toEqual(first.sender.secret);
    for (const peer of [first, second].flatMap(({ sender, receiver }) => [sender, receiver])) {
      await peer.channel.writable.abort();
    }
  });

  it('of others are rejected at either end, and the listener continues', async () => {
    const listening = await listen(keyResponder({ key: receiving, peer: name(sending) }));
    for (const caller of [
      keyCaller({ key: other, peer: name(receiving) }),
      keyCaller({ key: sending, peer: name(other) }),
      codeCaller(right),
    ]) {
      const call = connectToPeer({ to: here(listening.port), caller });
      await expect(call).rejects.toEqual(code('E_STREAM_AUTH'));
    }
    const caller = keyCaller({ key: sending, peer: name(receiving) });
    const peer = await connectToPeer({ to: here(listening.port), caller });
    await listening.peer;
    await peer.channel.writable.abort();
  });

  it('are not accepted from a caller or listener with only the correct public key', async () => {
    const posing = { ...other, publicKey: sending.publicKey };
    const listening = await listen(keyResponder({ key: receiving, peer: name(sending) }));
    const refused: string[] = [];
    const second = await listen(keyResponder({ key: receiving, peer: name(sending) }), {
      onRefused: (_, error) => refused.push(error.code),
    });
    const peer = await connectToPeer({
      to: here(second.port),
      caller: keyCaller({ key: posing, peer: name(receiving) }),
    });
    // The caller has sent all its messages. The listener has closed.
    await expect(peer.channel.readable.getReader().read()).resolves.toMatchObject({ value: new Uint8Array([0]) });
    expect(refused).toEqual(['E_STREAM_AUTH']);
    const fake = await listen(keyResponder({ key: { ...other, publicKey: receiving.publicKey }, peer: name(sending) }));
    const call = connectToPeer({ to: here(fake.port), caller: keyCaller({ key: sending, peer: name(receiving) }) });
    await expect(call).rejects.toEqual(code('E_STREAM_AUTH'));
    expect(listening.port).not.toBe(second.port);
  });

  it('reject an invalid fingerprint, and the own one', () => {
    for (const peer of ['', 'abc', `${name(other)}0`, name(sending)]) {
      expect(() => keyCaller({ key: sending, peer })).toThrow(code('E_INPUT'));
    }
  });
});

describe('a handshake in transit', () => {
  const ways = {
    code: async () => ({ responder: await codeResponder(right, 1_000), caller: () => codeCaller(right) }),
    keys: async () => {
      const [a, b] = [generateP256Key(), generateP256Key()];
      return {
        responder: keyResponder({ key: a, peer: keyName(b.publicKey) }),
        caller: () => keyCaller({ key: b, peer: keyName(a.publicKey) }),
      };
    },
  };

  it.each(['code', 'keys'] as const)('never gives both ends one secret after a flipped bit (%s)', async (which) => {
    const { responder, caller } = await ways[which]();
    for (const target of ['caller', 'listener'] as const) {
      for (const at of [4, 9, 40, 70, -1]) {
        const listening = await listen(responder);
        let first = true;
        const way = await between(listening.port, (piece, from) => {
          if (from !== target || !first) return piece;
          first = false;
          const copy = Buffer.from(piece);
          const index = at < 0 ? copy.length + at : at;
          copy[index] = (copy[index] ?? 0) ^ 1;
          return copy;
        });
        const called = await connectToPeer({ to: here(way.port), caller: caller() }).catch((error: unknown) => error);
        way.close();
        expect([target, at, (called as { code?: unknown }).code]).toEqual([
          target,
          at,
          expect.stringMatching(/^E_(STREAM_AUTH|STREAM_CUT|FRAME_FORMAT)$/),
        ]);
      }
    }
  });

  it.each(['code', 'keys'] as const)('is rejected when a recorded call is replayed (%s)', async (which) => {
    const { responder, caller } = await ways[which]();
    const recorded: Buffer[] = [];
    const listening = await listen(responder);
    const way = await between(listening.port, (piece, from) => {
      if (from === 'caller') recorded.push(piece);
      return piece;
    });
    const peer = await connectToPeer({ to: here(way.port), caller: caller() });
    await listening.peer;
    await peer.channel.writable.abort();
    way.close();

    const refused = new Promise<string>((resolve) => {
      void listen(responder, { onRefused: (_, error) => resolve(error.code) }).then(({ port }) => {
        const socket = connect(port, '127.0.0.1');
        socket.on('error', () => undefined);
        socket.write(Buffer.concat(recorded));
      });
    });
    expect(await refused).toBe('E_STREAM_AUTH');
  });

  it('is rejected with a code when it is garbage, and the next caller is served', async () => {
    const refused: string[] = [];
    const listening = await listen(await codeResponder(right), { onRefused: (_, error) => refused.push(error.code) });
    const garbage = [
      random(100),
      new Uint8Array([0, 0, 0, 0]),
      withLength(random(3_000)),
      withLength(encodeHandshake('code', random(96))),
      withLength(encodeHandshake('code', new TextEncoder().encode('AAAA'))),
      new TextEncoder().encode('GET / HTTP/1.1\r\n\r\n'),
    ];
    for (const [index, bytes] of garbage.entries()) {
      const socket = connect(listening.port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.end(bytes);
      while (refused.length <= index) await new Promise(setImmediate);
    }
    expect(new Set(refused)).toEqual(new Set(['E_FRAME_FORMAT']));
    const peer = await connectToPeer({ to: here(listening.port), caller: codeCaller(right) });
    await peer.channel.writable.abort();
  });
});

describe('a listener with connections of others', () => {
  async function hold(port: number, first?: Uint8Array): Promise<{ closed: Promise<void> }> {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.resume();
    await new Promise((resolve) => socket.once('connect', resolve));
    if (first !== undefined) socket.write(first);
    return { closed };
  }
  const [sending, receiving] = [generateP256Key(), generateP256Key()];
  const responder = () => keyResponder({ key: receiving, peer: keyName(sending.publicKey) });
  const caller = () => keyCaller({ key: sending, peer: keyName(receiving.publicKey) });

  it.each([
    ['say nothing', undefined],
    ['say half a message', new Uint8Array([0, 0, 1, 0, 77])],
    ['are refused and stay', withLength(encodeHandshake('code', random(96)))],
  ])('accepts the correct caller while many %s; the oldest of them is closed', async (_, first) => {
    const listening = await listen(responder(), { silentMs: 3_600_000 });
    const held: { closed: Promise<void> }[] = [];
    for (let i = 0; i < 20; i++) held.push(await hold(listening.port, first));
    const peer = await connectToPeer({ to: here(listening.port), caller: caller() });
    expect((await listening.peer).secret).toEqual(peer.secret);
    await Promise.all(held.map(({ closed }) => closed));
    await peer.channel.writable.abort();
  });

  it('does not let silent newcomers displace a caller during its handshake', async () => {
    const listening = await listen(responder(), { silentMs: 3_600_000 });
    let flooded = false;
    const way = await between(listening.port, (piece, from) => {
      if (from === 'listener' && !flooded) {
        flooded = true;
        for (let i = 0; i < 20; i++) void hold(listening.port);
      }
      return piece;
    });
    const peer = await connectToPeer({ to: here(way.port), caller: caller() });
    expect((await listening.peer).secret).toEqual(peer.secret);
    expect(flooded).toBe(true);
    await peer.channel.writable.abort();
    way.close();
  });

  it('closes a connection that is silent for too long, and continues', async () => {
    const listening = await listen(responder(), { silentMs: 50 });
    await (await hold(listening.port)).closed;
    await (await hold(listening.port, new Uint8Array([0, 0, 1, 0, 77]))).closed;
    const peer = await connectToPeer({ to: here(listening.port), caller: caller() });
    await listening.peer;
    await peer.channel.writable.abort();
  });
});

describe('decoders', () => {
  it('return whole messages, whatever the chunks', () => {
    const messages = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 8 });
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (wanted, sizes) => {
        const joiner = new MessageJoiner();
        const all = concatBytes(...wanted.map(withLength));
        const got: Uint8Array[] = [];
        for (let at = 0, i = 0; at < all.length; i++) {
          const size = sizes[i % sizes.length] ?? 1;
          got.push(...joiner.push(all.slice(at, at + size)));
          at += size;
        }
        expect(got).toEqual(wanted.map((one) => new Uint8Array(one)));
        expect(joiner.inMessage).toBe(false);
      }),
    );
  });

  it('turn any bytes into messages or E_FRAME_FORMAT, with bounded memory', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const joiner = new MessageJoiner();
        try {
          for (const message of joiner.push(bytes)) expect(message.length).toBeLessThanOrEqual(MAX_MESSAGE_BYTES);
        } catch (error) {
          expect(error).toEqual(code('E_FRAME_FORMAT'));
        }
        try {
          decodeHandshake('code', bytes);
        } catch (error) {
          expect(error).toEqual(code('E_FRAME_FORMAT'));
        }
      }),
      { numRuns: 5_000 },
    );
  });

  it('parse addresses', () => {
    expect(parseAddress('[::1]:7610', '--to')).toEqual({ host: '::1', port: 7610 });
    expect(parseAddress('host.example:1', '--to')).toEqual({ host: 'host.example', port: 1 });
    expect(parseAddress(':0', '--listen')).toEqual({ host: undefined, port: 0 });
    for (const text of ['', 'host', 'host:', '::1:7610', 'host:70000', 'a b:1', 'host:-1', '[::1]', 'host:1x']) {
      expect(() => parseAddress(text, '--to')).toThrow(code('E_INPUT'));
    }
  });
});
