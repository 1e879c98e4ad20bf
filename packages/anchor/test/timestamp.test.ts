import { fromHex, toHex, utf8 } from '@millrace/base';
import { sha256 } from '@noble/hashes/sha2.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  attestationsOf,
  decodeTimestampFile,
  encodeTimestampFile,
  mergeTimestamps,
  readBlockHeader,
  type Timestamp,
} from '../src/parts.ts';
import { GENESIS_HEADER, HELLO_WORLD, TWO_CALENDARS } from './examples.ts';

describe('a .ots file', () => {
  it('made by the OpenTimestamps client evaluates to the Merkle root of its block', () => {
    const timestamp = decodeTimestampFile(HELLO_WORLD);
    expect(timestamp.message).toEqual(Uint8Array.from(sha256(utf8('Hello World!\n'))));
    const [attested, ...others] = attestationsOf(timestamp);
    expect(others).toEqual([]);
    expect(attested?.attestation).toEqual({ type: 'bitcoin', height: 358_391 });
    // The Merkle root of block 358391 in the order of its header.
    expect(toHex(attested?.message ?? new Uint8Array())).toBe(
      '007ee445d23ad061af4a36b809501fab1ac4f2d7e7a739817dd0cbb7ec661b8a',
    );
  });

  it('names its pending calendars', () => {
    const attestations = [...attestationsOf(decodeTimestampFile(TWO_CALENDARS))].map(({ attestation }) => attestation);
    expect(attestations).toEqual([
      { type: 'pending', calendar: 'https://alice.btc.calendar.opentimestamps.org' },
      { type: 'pending', calendar: 'https://bob.btc.calendar.opentimestamps.org' },
    ]);
  });

  it.each([
    ['one block', HELLO_WORLD],
    ['two calendars', TWO_CALENDARS],
  ])('of %s is encoded to the same bytes as by the OpenTimestamps client', (_, bytes) => {
    expect(encodeTimestampFile(decodeTimestampFile(bytes))).toEqual(bytes);
  });

  it('is rejected with one code, however it is damaged', () => {
    const changed = fc.record({ at: fc.nat(HELLO_WORLD.length - 1), to: fc.nat(255), cut: fc.nat(HELLO_WORLD.length) });
    fc.assert(
      fc.property(changed, ({ at, to, cut }) => {
        const bytes = Uint8Array.from(HELLO_WORLD.subarray(0, cut));
        if (at < cut) bytes[at] = to;
        try {
          decodeTimestampFile(bytes);
        } catch (error) {
          expect(error).toMatchObject({ code: 'E_ANCHOR' });
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('is rejected when it has too many operations or is nested too deeply', () => {
    const head = HELLO_WORLD.subarray(0, 65);
    const deep = Uint8Array.of(...head, ...new Array<number>(300).fill(0x08));
    expect(() => decodeTimestampFile(deep)).toThrow('more than 256 operations in a row');
    const leaf = [0xff, 0x00, 1, 2, 3, 4, 5, 6, 7, 8, 0];
    const wide = Uint8Array.of(...head, ...new Array(10_001).fill(leaf).flat());
    expect(() => decodeTimestampFile(wide)).toThrow('more than 10000 nodes');
    const long = Uint8Array.of(...head, ...new Array<number>(8).fill(0xf3));
    expect(() => decodeTimestampFile(long)).toThrow('a message has more than 4096 bytes');
  });
});

describe('merging timestamps', () => {
  const of = (height: number): Timestamp => ({
    message: Uint8Array.of(1),
    attestations: [{ type: 'bitcoin', height }],
    branches: [],
  });

  it('keeps each attestation once', () => {
    const merged = mergeTimestamps(of(1), of(2), of(1));
    expect([...attestationsOf(merged)].map(({ attestation }) => attestation)).toEqual([
      { type: 'bitcoin', height: 1 },
      { type: 'bitcoin', height: 2 },
    ]);
  });

  it('is rejected for different messages', () => {
    expect(() => mergeTimestamps(of(1), { ...of(1), message: Uint8Array.of(2) })).toThrow('different messages');
  });
});

const DIFFICULTY_1 = 0xffffn << 208n;

describe('a block header', () => {
  it('has a time, Merkle root and hash', () => {
    const { time, merkleRoot, hash } = readBlockHeader(GENESIS_HEADER, DIFFICULTY_1);
    expect(time).toBe(1_231_006_505);
    expect(toHex(merkleRoot.toReversed())).toBe('4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b');
    expect(toHex(hash)).toBe('000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f');
  });

  it('is rejected without the work that it claims', () => {
    for (const at of [0, 40, 68, 76]) {
      const forged = Uint8Array.from(GENESIS_HEADER);
      forged[at] = (forged[at] ?? 0) ^ 1;
      expect(() => readBlockHeader(forged, DIFFICULTY_1)).toThrow('has no proof of work');
    }
  });

  it('is rejected when it claims less work than required', () => {
    const easy = Uint8Array.from(GENESIS_HEADER);
    easy.set(fromHex('ffff7f20'), 72); // the target of test networks
    expect(() => readBlockHeader(easy, DIFFICULTY_1)).toThrow('is too easy to find');
    expect(() => readBlockHeader(GENESIS_HEADER)).toThrow('is too easy to find');
  });
});
