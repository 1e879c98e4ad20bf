import { readFileSync } from 'node:fs';
import { copyBytes, decodeCbor, encodeCbor, systemRandom, toHex } from '@millrace/base';
import { parseSign1 } from '@millrace/identity';
import {
  codeOf,
  createOpening,
  createProtocolFixture,
  dated,
  NOW,
  registerKey,
} from '@millrace/testkit/protocol/support';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Amendment, signTransaction } from '../src/browser.ts';
import { CLOCK_SKEW_MS } from '../src/directory.ts';
import { readTransaction, type TransactionOf } from '../src/documents.ts';
import { type OpeningContext, verifyOpening } from '../src/opening.ts';
import { formatAmount, type Period, parseAmount, periodAt, periodNumbered } from '../src/prices.ts';
import { MAX_AMOUNT, PERMIT_MS, type Subscription } from '../src/shapes.ts';

/** Made by another implementation. */
const { periods: vectors } = JSON.parse(
  readFileSync(new URL('../../../vectors/protocol/periods.json', import.meta.url), 'utf8'),
) as { periods: (Pick<Subscription, 'start' | 'unit' | 'length'> & { time: number; period: Period | null })[] };

const DAY = 86_400_000;
const utc = (text: string) => Date.parse(`${text}Z`);
const monthly: Subscription = {
  ...{ per: 'period', currency: 'EUR', amount: 10_000, quota: 5 },
  ...{ unit: 'month', length: 1, start: utc('2027-01-31T12:30:00') },
};
const begins = (price: Subscription, count: number) =>
  Array.from({ length: count }, (_, i) => new Date(periodNumbered(price, i + 1).from).toISOString().slice(0, 16));

describe('periods', () => {
  it('of months begin on the day of the anchor, or on the last day of a shorter month', () => {
    expect(begins(monthly, 4)).toEqual([
      '2027-01-31T12:30',
      '2027-02-28T12:30',
      '2027-03-31T12:30',
      '2027-04-30T12:30',
    ]);
    const leap = { ...monthly, start: utc('2027-11-30T00:00:00'), length: 3 };
    expect(begins(leap, 3)).toEqual(['2027-11-30T00:00', '2028-02-29T00:00', '2028-05-30T00:00']);
    expect(begins({ ...leap, length: 12, start: utc('2028-02-29T23:59:59.999') }, 5)).toEqual(
      ['2028-02-29', '2029-02-28', '2030-02-28', '2031-02-28', '2032-02-29'].map((day) => `${day}T23:59`),
    );
  });

  it('begin at their first millisecond and end before that of the next one', () => {
    expect(periodAt(monthly, monthly.start - 1)).toBeUndefined();
    for (const number of [1, 2, 13, 1_200]) {
      const { from, to } = periodNumbered(monthly, number);
      expect(periodAt(monthly, from)?.number).toBe(number);
      expect(periodAt(monthly, to - 1)?.number).toBe(number);
      expect(periodAt(monthly, to)?.number).toBe(number + 1);
    }
  });

  it('are those of another implementation', () => {
    for (const { time, period, ...terms } of vectors)
      expect(periodAt({ ...monthly, ...terms }, time) ?? null, JSON.stringify(terms)).toEqual(period);
  });

  it('cover all time from the start on without gaps', () => {
    fc.assert(
      fc.property(
        fc.record({
          start: fc.integer({ min: 0, max: utc('2100-01-01T00:00:00') }),
          unit: fc.constantFrom('day' as const, 'month' as const),
          length: fc.integer({ min: 1, max: 1_200 }),
          after: fc.integer({ min: 0, max: 36_525 * DAY }),
        }),
        ({ after, ...terms }) => {
          const price: Subscription = { ...monthly, ...terms };
          const time = price.start + after;
          const period = periodAt(price, time);
          expect(period?.from).toBeLessThanOrEqual(time);
          expect(period?.to).toBeGreaterThan(time);
          expect(period).toEqual(periodNumbered(price, period?.number ?? 0));
        },
      ),
    );
  });
});

describe('amounts', () => {
  it.each([
    [1250, 'EUR', '12.50 EUR'],
    [5, 'USD', '0.05 USD'],
    [-1, 'USD', '-0.01 USD'],
    [1250, 'JPY', '1250 JPY'],
    [1250, 'KWD', '1.250 KWD'],
    [12_345_678_901_234_567_890n, 'EUR', '123456789012345678.90 EUR'],
  ])('%s %s is %s', (minor, currency, text) => {
    expect(formatAmount(minor, currency)).toBe(text);
    if (typeof minor === 'number' && minor > 0) expect(parseAmount(text.split(' ')[0] ?? '', currency)).toBe(minor);
  });

  it.each([
    ['12.505', 'EUR'],
    ['1.5', 'JPY'],
    ['-1', 'EUR'],
    ['1e3', 'EUR'],
    ['', 'EUR'],
    ['10000000000.01', 'EUR'],
  ])('%s %s is refused', async (text, currency) => {
    expect(await codeOf(() => parseAmount(text, currency))).toBe('E_INPUT');
  });
});

const fixture = createProtocolFixture();
const { keys, directory, design, coreHash } = fixture;
const daily: Subscription = { ...monthly, unit: 'day', start: NOW - 1 };
const context: OpeningContext = {
  directory,
  now: NOW,
  designOf: async () => ({ owner: keys.owner.publicKey, coreHash }),
  begun: async () => false,
  credits: async () => 0,
};
type Grant = TransactionOf<'licence.grant'>;
const openingOf = (price: Grant['price'], terms: Partial<Grant> = {}, permit = {}) =>
  createOpening(fixture, { licence: { ...(price && { price }), ...terms }, permit });

describe('the price of a licence', () => {
  it.each<[string, unknown]>([
    ['an amount beyond the limit', { per: 'object', currency: 'EUR', amount: MAX_AMOUNT + 1 }],
    ['an amount that no double holds', { per: 'object', currency: 'EUR', amount: 2 ** 53 }],
    ['a negative amount', { per: 'object', currency: 'EUR', amount: -1 }],
    ['a part of a minor unit', { per: 'object', currency: 'EUR', amount: 0.5 }],
    ['another currency', { per: 'object', currency: 'eur', amount: 1 }],
    ['a formula as its currency', { per: 'object', currency: '=1+', amount: 1 }],
    ['an overage beyond the limit', { ...daily, overage: MAX_AMOUNT + 1 }],
    ['a period without length', { ...daily, length: 0 }],
    ['a quota of 0', { ...daily, quota: 0 }],
    ['a start before the licence is valid', { ...daily, start: NOW - 2 }],
    ['a start after its end', { ...daily, start: NOW + 1_000_001 }],
    ['a field that it does not have', { ...daily, discount: 1 }],
  ])('is refused with %s', async (_, price) => {
    // The signer is the owner, who may not sign this either.
    const { licence } = await openingOf(price as Grant['price']);
    expect(await codeOf(() => readTransaction(licence))).toBe('E_INPUT');
  });

  it('is refused with more than a hundred years of days', async () => {
    const { licence } = await openingOf(daily, { notAfter: NOW + 36_525 * DAY });
    expect(await codeOf(() => readTransaction(licence))).toBe('E_INPUT');
    expect(readTransaction((await openingOf(daily, { notAfter: NOW + 36_524 * DAY })).licence)).toMatchObject({});
  });

  it('is signed: it cannot be changed later', async () => {
    const opening = await openingOf({ per: 'object', currency: 'EUR', amount: 100 });
    const { payload } = parseSign1(opening.licence);
    const cheaper = encodeCbor({
      ...(decodeCbor(payload, 'licence') as Grant),
      price: { per: 'object', currency: 'EUR', amount: 101 },
    } as never);
    const licence = copyBytes(opening.licence);
    licence.set(cheaper, Buffer.from(licence).indexOf(payload));
    expect(readTransaction(licence)).toMatchObject({ price: { amount: 101 } });
    expect(await codeOf(() => verifyOpening({ ...opening, licence }, context))).toBe('E_SIGNATURE');
  });
});

describe('an opening under a subscription', () => {
  const period = async (...[price, terms, permit]: Parameters<typeof openingOf>) =>
    (await verifyOpening(await openingOf(price, terms, permit), context)).period;

  it('has the period of its permit’s issue, with the quota', async () => {
    const price = { ...daily, start: NOW - DAY };
    const at = (issued: number) => period(price, { notBefore: NOW - DAY }, { issued, expires: issued + PERMIT_MS });
    expect(await at(NOW - 1)).toEqual({ number: 1, from: NOW - DAY, to: NOW, quota: 5 });
    expect(await at(NOW)).toEqual({ number: 2, from: NOW, to: NOW + DAY, quota: 5 });
  });

  it('has none without a quota that is enforced, and when the object has begun', async () => {
    expect(await period(undefined)).toBeUndefined();
    expect(await period({ per: 'object', currency: 'EUR', amount: 1 })).toBeUndefined();
    expect(await period({ ...daily, overage: 7 })).toBeUndefined();
    const begun = { ...context, begun: async () => true };
    expect((await verifyOpening(await openingOf(daily), begun)).period).toBeUndefined();
  });

  it('is refused before the first period, and with a permit that is old enough to choose another period', async () => {
    const later = { ...daily, start: NOW + 1 };
    expect(await codeOf(async () => verifyOpening(await openingOf(later), context))).toBe('E_LICENCE_INVALID');
    // A permit of an hour ago that control dated so that it does not expire.
    const issued = NOW - CLOCK_SKEW_MS - PERMIT_MS - 1;
    const dates = { issued, expires: NOW + PERMIT_MS };
    for (const price of [daily, { ...daily, overage: 7 }]) {
      const old = await openingOf({ ...price, start: issued }, { notBefore: issued }, dates);
      expect(await codeOf(() => verifyOpening(old, context))).toBe('E_PERMIT');
    }
  });

  it('keeps price and period through an extension and a transfer', async () => {
    const id = systemRandom(16);
    const heir = keys.admin;
    const credential = (key: typeof keys.owner) => registerKey(keys.admin, directory.installation, key.publicKey);
    const sign = async (body: object, key: typeof keys.owner) => ({
      transaction: await signTransaction(key, directory.installation, { ...body, ...dated() } as Amendment),
      credential: await credential(key),
    });
    const licence = toHex(id);
    const amendments = [
      await sign({ type: 'licence.transfer', licence, number: 1, to: heir.publicKey }, keys.holder),
      await sign(
        {
          ...{ type: 'licence.extend', licence },
          machines: [{ machine: 'f'.repeat(32), registration: new Uint8Array(32) }],
        },
        keys.owner,
      ),
    ];
    const opening = await createOpening(fixture, {
      licence: { id, price: daily, transfer: 'alone' },
      amendments,
      signPrint: heir,
    });
    const verified = await verifyOpening(opening, context);
    expect(verified.licence.price).toEqual(daily);
    expect(verified.licence.machines).toHaveLength(2);
    expect(verified.period).toMatchObject({ number: 1, quota: 5 });
    expect(design).toBe(verified.licence.design);
  });
});
