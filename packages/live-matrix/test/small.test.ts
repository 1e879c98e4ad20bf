import { createHash } from 'node:crypto';
import { type Bytes, copyBytes } from '@millrace/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { availableEngines } from '../src/engines/choose.ts';
import type { HashEngine } from '../src/engines/engine.ts';
import { createReceiver } from '../src/node-receiver.ts';
import { createSender } from '../src/node-sender.ts';
import type { MatrixParameters } from '../src/parameters.ts';
import { lookUpSmall } from '../src/table/small.ts';

/** All inputs are derived from fixed texts. One block in some 100,000 cannot be solved, and none of these is one. */
const bytesOf = (text: string, length: number): Bytes =>
  copyBytes(createHash('shake256', { outputLength: length }).update(text).digest());
const sessionId = bytesOf('session', 16);
const seed = bytesOf('seed', 32);
const code = (name: string) => expect.objectContaining({ code: name });
const engines = availableEngines().map((engine) => [engine.name, engine] as const);

const kinds: readonly MatrixParameters[] = [
  { suite: 'keccak256', order: 8, hints: 'dense' },
  { suite: 'turboshake128', order: 8, hints: 'dense', blockHints: 50 },
  { suite: 'turboshake128', order: 8, hints: 'sparse', chaffPercent: 60 },
];

async function pair(parameters: MatrixParameters, engine: HashEngine) {
  const session = { parameters, sessionId, seed, engine };
  return { sender: createSender(session), receiver: await createReceiver(session) };
}

describe.each(engines)('order 8 by engine %s', (_, engine) => {
  it.each(kinds)('carries cells of any length (%o)', async (parameters) => {
    const { sender, receiver } = await pair(parameters, engine);
    let number = 0;
    const property = fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 400 }), async (cell) => {
      const frame = number++;
      expect(await receiver.decode(sender.encode(frame, cell))).toEqual({ revision: 0n, frame, cell: copyBytes(cell) });
    });
    await fc.assert(property, { numRuns: 40, seed: 8 });
    await receiver.close();
  });

  it('finds every value of each code, and only 0 for chaff', () => {
    const key = { suite: 'keccak256', revision: 5n, key: seed } as const;
    const hashes = new Uint32Array(256);
    engine.hashRange(key, 0, hashes);
    const codes = Uint32Array.from({ length: 300 }, (_, i) => i);
    const skip = Uint8Array.from(codes, (code) => (code % 7 === 3 ? 1 : 0));
    const { starts, values } = lookUpSmall(engine, key, codes, skip);
    for (const [i, wanted] of codes.entries()) {
      const expected = [...hashes.keys()].filter((value) => ((hashes[value] ?? 0) & 255) === (wanted & 255));
      expect([...values.subarray(starts[i], starts[i + 1])]).toEqual(skip[i] === 1 ? [0] : expected);
    }
  });
});

describe('order 8', () => {
  const [[, engine] = []] = engines;
  if (engine === undefined) throw new Error('no engine');
  const [dense = kinds[0]] = kinds;
  if (dense === undefined) throw new Error('no parameters');

  it('solves frames of the length of telemetry, revision after revision', async () => {
    const { sender, receiver } = await pair(dense, engine);
    for (let frame = 0; frame < 3_000; frame++) {
      if (frame % 50 === 49) {
        if ((receiver.ready + 1n) % 64n === 0n) for (const end of [sender, receiver]) end.mix(seed);
        sender.advance();
        await receiver.prepareNext();
      }
      const cell = bytesOf(`cell ${frame}`, 40 + (frame % 200));
      expect((await receiver.decode(sender.encode(frame, cell))).cell).toEqual(cell);
    }
    await receiver.close();
  });

  it('holds two revisions, and rejects older, unprepared, repeated or altered frames', async () => {
    const { sender, receiver } = await pair(dense, engine);
    const cell = bytesOf('cell', 60);
    const [first, again, late] = [sender.encode(1, cell), sender.encode(2, cell), sender.encode(3, cell)];
    sender.advance();
    const second = sender.encode(4, cell);
    await expect(receiver.decode(second)).rejects.toThrow(code('E_FRAME_REVISION'));
    await receiver.prepareNext();
    expect((await receiver.decode(second)).revision).toBe(1n);
    expect((await receiver.decode(first)).revision).toBe(0n);
    await expect(receiver.decode(first)).rejects.toThrow(code('E_FRAME_REPLAY'));
    const altered = Uint8Array.from(again, (byte, i) => (i === 40 ? byte ^ 1 : byte));
    await expect(receiver.decode(altered)).rejects.toThrow(code('E_FRAME_MAC'));
    await receiver.prepareNext();
    await expect(receiver.decode(late)).rejects.toThrow(code('E_FRAME_REVISION'));
    await receiver.close();
    await expect(receiver.decode(second)).rejects.toThrow(code('E_STATE'));
  });

  it('carries the largest cell, and rejects a longer one', async () => {
    const { sender, receiver } = await pair(dense, engine);
    const cell = bytesOf('largest', 65_535);
    expect((await receiver.decode(sender.encode(0, cell))).cell).toEqual(cell);
    expect(() => sender.encode(1, bytesOf('larger', 65_536))).toThrow(code('E_TOO_LARGE'));
    await receiver.close();
  });
});
