import { concatBytes, encodeCbor } from '@millrace/base';
import { codeOf, sampleEvent as event } from '@millrace/testkit/ledger/helpers';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  commitTo,
  decodeOpening,
  ENTRY_LENGTH,
  ENTRY_VERSION,
  encodeEvent,
  encodeOpening,
  leafHash,
  SALT_LENGTH,
} from '../src/index.ts';

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

describe('a commitment', () => {
  test('opens to the event and salt that it was computed from', () => {
    fc.assert(
      fc.property(
        bytes(SALT_LENGTH),
        fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme-ascii' }),
        (salt, id) => {
          const whole = { ...event, id };
          const logged = decodeOpening(encodeOpening(whole, salt), 7);
          expect(logged).toMatchObject({ index: 7, event: whole });
          expect(logged.entry).toEqual(commitTo(encodeEvent(whole), salt));
          expect(logged.hash).toEqual(leafHash(logged.entry));
          expect([logged.entry.length, logged.entry[0]]).toEqual([ENTRY_LENGTH, ENTRY_VERSION]);
        },
      ),
    );
  });

  test('does not open with another salt or another event, whatever is changed in the opening', () => {
    const opening = encodeOpening(event, new Uint8Array(SALT_LENGTH).fill(8));
    const { entry } = decodeOpening(opening, 0);
    fc.assert(
      fc.property(fc.nat(opening.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const bent = Uint8Array.from(opening);
        bent[at] = (bent[at] ?? 0) ^ mask;
        expect(commitTo(bent.subarray(SALT_LENGTH), bent.subarray(0, SALT_LENGTH))).not.toEqual(entry);
      }),
      { numRuns: 500 },
    );
  });

  test('does not open when the boundary between salt and event is moved', async () => {
    // HMAC pads short keys with zeros: only a salt of one length keeps (salt, event) unambiguous.
    const salt = concatBytes(new Uint8Array(SALT_LENGTH - 1).fill(8), Uint8Array.of(0));
    const opening = encodeOpening(event, salt);
    const { entry } = decodeOpening(opening, 0);
    for (const shift of [-1, 1]) {
      const moved = opening.subarray(0, SALT_LENGTH + shift);
      expect(commitTo(opening.subarray(SALT_LENGTH + shift), moved)).not.toEqual(entry);
    }
    expect(commitTo(encodeEvent(event), salt.subarray(0, SALT_LENGTH - 1))).toEqual(entry);
    // Readers and writers therefore reject salts of any other length.
    for (const length of [0, 31, 33, 64])
      expect(() => encodeOpening(event, new Uint8Array(length))).toThrow('a salt has 32 bytes');
    expect(await codeOf(() => decodeOpening(concatBytes(salt.subarray(1), encodeEvent(event)), 0))).toBe(
      'E_LEDGER_ENTRY',
    );
  });

  test('accepts one encoding of an opening only', async () => {
    const salt = new Uint8Array(SALT_LENGTH);
    const opening = encodeOpening(event, salt);
    for (const wrong of [
      new Uint8Array(0),
      salt,
      opening.subarray(0, -1),
      concatBytes(opening, Uint8Array.of(0)),
      concatBytes(salt, encodeCbor({ ...event, more: 1 } as never)),
    ])
      expect(await codeOf(() => decodeOpening(wrong, 0))).toBe('E_LEDGER_ENTRY');
  });
});
