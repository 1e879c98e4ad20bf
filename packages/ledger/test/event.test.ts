import { encodeCbor, utf8 } from '@millrace/base';
import { codeOf, sampleEvent as event } from '@millrace/testkit/ledger/helpers';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { eventRequestSchema, isEventRequest } from '../src/event.ts';
import {
  type BodyValue,
  commitTo,
  decodeEvent,
  decodeOpening,
  type EventBody,
  encodeEvent,
  encodeOpening,
  type LedgerEvent,
  leafHash,
} from '../src/index.ts';

const salt = new Uint8Array(32).fill(3);
const text = fc.string({ unit: 'grapheme' });
const bodies = fc.dictionary(
  text,
  fc.oneof(
    fc.boolean(),
    fc.maxSafeInteger(),
    text,
    fc.uint8Array({ maxLength: 40 }),
    fc.constant(null),
    fc.array(text),
    fc.dictionary(text, fc.nat()),
  ),
);

describe('events', () => {
  test('round-trip through encoding, and the hash is the leaf hash', () => {
    fc.assert(
      fc.property(
        bodies,
        fc.option(fc.array(fc.uint8Array({ minLength: 1, maxLength: 60 }), { minLength: 1, maxLength: 8 }), {
          nil: undefined,
        }),
        (body, evidence) => {
          const whole = evidence === undefined ? { ...event, body } : { ...event, body, evidence };
          const encoded = encodeEvent(whole);
          const opening = encodeOpening(whole, salt);
          const logged = decodeOpening(opening, 5);
          expect(encodeCbor({ ...logged.event })).toEqual(encoded);
          const entry = commitTo(encoded, salt);
          expect(logged).toMatchObject({ index: 5, entry, hash: leafHash(entry), opening });
          expect(Object.keys(logged.event.body).sort()).toEqual(Object.keys(body).sort());
        },
      ),
    );
  });

  test('are encoded as by any deterministic CBOR encoder', () => {
    const value: fc.Arbitrary<BodyValue> = fc.letrec<{ value: BodyValue }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.boolean(),
        fc.constant(null),
        fc.maxSafeInteger(),
        fc.constantFrom(0, 23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, -1, -24, -25, -(2 ** 32) - 1),
        text,
        fc.string({ minLength: 20, maxLength: 300 }),
        fc.uint8Array({ maxLength: 300 }),
        fc.array(tie('value'), { maxLength: 30 }),
        fc.dictionary(text, tie('value')),
      ),
    })).value;
    fc.assert(
      fc.property(fc.dictionary(text, value), text, (body, actor) => {
        const whole = { ...event, body: body as EventBody, actor: `a${actor}`.slice(0, 60) };
        let bytes: Uint8Array;
        try {
          bytes = encodeEvent(whole);
        } catch {
          return;
        }
        expect(bytes).toEqual(encodeCbor({ ...whole }));
      }),
    );
    for (const length of [0, 23, 24, 255, 256, 600, 20_000]) {
      const long = {
        ...event,
        body: { a: 'a'.repeat(length), b: `${'a'.repeat(length)}ü`, c: new Uint8Array(length) },
      };
      expect(encodeEvent(long)).toEqual(encodeCbor({ ...long }));
    }
  });

  test('requests are recognised exactly as by the schema', () => {
    const label = fc.oneof(
      text,
      fc.constantFrom('', 'a', 'a\0', 'ü'.repeat(128), 'ü'.repeat(129), '\ud800', 'a'.repeat(257)),
    );
    const value: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 10 },
        fc.constantFrom(
          null,
          undefined,
          true,
          1.5,
          -1,
          2 ** 53,
          Number.NaN,
          new Date(0),
          new Uint8Array(2),
          '\udc00',
          7n,
        ),
        text,
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(fc.oneof(text, fc.constant('\ud800')), tie('value'), { maxKeys: 3 }),
      ),
    })).value as fc.Arbitrary<unknown>;
    const evidence = fc.oneof(value, fc.array(fc.uint8Array({ maxLength: 2 }), { maxLength: 10 }));
    const requests = fc.record(
      {
        account: label,
        type: fc.constantFrom('ordered', 'machine', 'printed'),
        actor: label,
        eventId: label,
        body: fc.oneof(bodies, value),
        evidence,
        extra: fc.constant(1),
      },
      { requiredKeys: ['account', 'type', 'actor', 'eventId', 'body'] },
    );
    const valid = { account: 'a', type: 'machine', actor: 'ü', eventId: 'id', body: {} };
    const nearly = fc
      .tuple(fc.constantFrom('account', 'actor', 'eventId', 'body', 'evidence'), fc.oneof(label, bodies, evidence))
      .map(([key, other]) => ({ ...valid, [key]: other }));
    let accepted = 0;
    fc.assert(
      fc.property(fc.oneof(requests, nearly, value), (request) => {
        const expected = eventRequestSchema.safeParse(request).success;
        if (expected) accepted += 1;
        expect(isEventRequest(request)).toBe(expected);
      }),
      { numRuns: 1_000 },
    );
    expect(accepted).toBeGreaterThan(10);
  });

  const wrong: [string, Record<string, unknown>][] = [
    ['an unknown field', { ...event, extra: 1 }],
    ['a missing field', { ...event, actor: undefined }],
    ['another version', { ...event, v: 2 }],
    ['an unknown type', { ...event, type: 'printed' }],
    ['an empty account', { ...event, account: '' }],
    ['an account with a control character', { ...event, account: 'a\0b' }],
    ['an account of 257 bytes', { ...event, account: 'ü'.repeat(129) }],
    ['a fraction in the body', { ...event, body: { grams: 1.5 } }],
    ['a number past 2^53', { ...event, body: { grams: 2 ** 53 } }],
    ['a list as body', { ...event, body: [] }],
    ['a body nested too deep', { ...event, body: { a: [[[[[[[[[]]]]]]]]] } }],
    ['a negative sequence', { ...event, sequence: -1 }],
    ['a first event with a previous one', { ...event, previous: new Uint8Array(32) }],
    ['a later event without previous', { ...event, sequence: 1 }],
    ['a previous hash of 31 bytes', { ...event, sequence: 1, previous: new Uint8Array(31) }],
    ['empty evidence', { ...event, evidence: [] }],
    ['evidence without bytes', { ...event, evidence: [new Uint8Array(0)] }],
    ['evidence outside a list', { ...event, evidence: new Uint8Array(3) }],
    ['nine documents', { ...event, evidence: Array.from({ length: 9 }, () => new Uint8Array(3)) }],
    ['a key beside the evidence', { ...event, evidence: [new Uint8Array(3)], evidenceKey: new Uint8Array(33) }],
    ['a time with a fraction', { ...event, time: 1.5 }],
  ];

  test.each(wrong)('rejects %s when writing and when reading', async (_, value) => {
    expect(await codeOf(() => encodeEvent(value as LedgerEvent))).toBe('E_INPUT');
    expect(await codeOf(() => decodeEvent(encodeCbor(value as never)))).toBe('E_LEDGER_ENTRY');
  });

  test('rejects a lone surrogate when writing: it has no UTF-8 encoding', async () => {
    expect(await codeOf(() => encodeEvent({ ...event, body: { a: '\ud800' } }))).toBe('E_INPUT');
    expect(await codeOf(() => encodeEvent({ ...event, account: '\udc00' }))).toBe('E_INPUT');
  });

  test('rejects an event too long for an entry', async () => {
    expect(await codeOf(() => encodeEvent({ ...event, body: { a: new Uint8Array(65_535) } }))).toBe('E_TOO_LARGE');
    expect(encodeEvent({ ...event, body: { a: new Uint8Array(65_000) } }).length).toBeLessThan(65_536);
    expect(await codeOf(() => decodeEvent(new Uint8Array(65_536)))).toBe('E_LEDGER_ENTRY');
  });

  test('decodes only the deterministic encoding', async () => {
    const entry = encodeEvent(event);
    for (const bytes of [
      new Uint8Array(0),
      entry.subarray(1),
      Uint8Array.of(...entry, 0),
      utf8('event'),
      Uint8Array.of(0xbf, 0xff),
    ]) {
      expect(await codeOf(() => decodeEvent(bytes))).toBe('E_LEDGER_ENTRY');
    }
    const longer = Uint8Array.of(0xb8, entry[0] === undefined ? 0 : entry[0] - 0xa0, ...entry.subarray(1));
    await expect(async () => decodeEvent(longer)).rejects.toThrow();
  });
});
