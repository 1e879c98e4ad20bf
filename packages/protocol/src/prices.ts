import { MillraceError } from '@millrace/base';
import { CLOCK_SKEW_MS } from './directory.ts';
import { MAX_AMOUNT, PERMIT_MS, type Price, type Subscription } from './shapes.ts';

// Prices in licences (spec/protocol.md, 5.8). Amounts are integers in the minor unit of their currency (ISO 4217).

/** Longest subscription: a day each for a hundred years are 36,525 periods. */
const MAX_SUBSCRIPTION_MS = 36_525 * 86_400_000;
const DAY_MS = 86_400_000;

/** Terms of a licence on which its price depends. */
interface Terms {
  readonly price?: Price | undefined;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** Whether a subscription begins while the licence is valid, and has a number of periods that can be listed. */
export function fitsValidity({ price, notBefore, notAfter }: Terms): boolean {
  if (price?.per !== 'period') return true;
  const { start } = price;
  return start >= notBefore && start <= notAfter && notAfter - start <= MAX_SUBSCRIPTION_MS;
}

/** A period of a subscription: `from` ≤ time < `to`, ms since 1970. */
export interface Period {
  /** From 1. */
  readonly number: number;
  readonly from: number;
  readonly to: number;
}

/** The period of this number, from 1. */
export function periodNumbered(price: Subscription, number: number): Period {
  return { number, from: edge(price, number - 1), to: edge(price, number) };
}

/** The period in which a time is; undefined before the first one. */
export function periodAt(price: Subscription, time: number): Period | undefined {
  if (time < price.start) return undefined;
  // A month has at most 31 days, so this is never too high.
  const days = price.length * (price.unit === 'day' ? 1 : 31);
  let number = Math.floor((time - price.start) / (days * DAY_MS)) + 1;
  while (edge(price, number) <= time) number++;
  return periodNumbered(price, number);
}

/**
 * Begin of the period with this index, from 0. Months are counted from the day of `start`; where a month is too short
 * for that day, the period begins on its last day. UTC has no change of hours, so the time of day stays the same.
 */
function edge({ start, unit, length }: Subscription, index: number): number {
  if (unit === 'day') return start + index * length * DAY_MS;
  const from = new Date(start);
  const month = from.getUTCMonth() + index * length;
  const last = new Date(Date.UTC(from.getUTCFullYear(), month + 1, 0)).getUTCDate();
  const day = Math.min(from.getUTCDate(), last);
  return Date.UTC(from.getUTCFullYear(), month, day) + (start % DAY_MS);
}

/** A period whose objects are limited. */
export interface LimitedPeriod extends Period {
  readonly quota: number;
}

/**
 * The period to which an object belongs by the issue of its permit, if the licence limits its objects.
 * @throws {MillraceError} E_LICENCE_INVALID before the first period
 */
export function limitedPeriod({ price }: Pick<Terms, 'price'>, issued: number): LimitedPeriod | undefined {
  if (price?.per !== 'period') return undefined;
  const period = periodAt(price, issued);
  if (period === undefined)
    throw new MillraceError('E_LICENCE_INVALID', `the subscription begins on ${new Date(price.start).toISOString()}`);
  return price.overage === undefined ? { ...period, quota: price.quota } : undefined;
}

/**
 * Checks that control did not choose the period of an object: its permit is as new as a node's clock and its own time
 * limit allow.
 * @throws {MillraceError} E_PERMIT; E_LICENCE_INVALID before the first period
 */
export function requirePeriod(terms: Pick<Terms, 'price'>, issued: number, now: number): LimitedPeriod | undefined {
  if (terms.price?.per !== 'period') return undefined;
  if (now - issued > CLOCK_SKEW_MS + PERMIT_MS)
    throw new MillraceError('E_PERMIT', 'the permit is too old to choose the period of its object');
  return limitedPeriod(terms, issued);
}

export function quotaError({ quota, to }: LimitedPeriod, licence: string): MillraceError {
  const next = new Date(to).toISOString();
  return new MillraceError(
    'E_LICENCE_QUOTA',
    `the subscription allows ${quota} objects in this period, which ends on ${next}`,
    { data: { licence, quota, next: to } },
  );
}

/** Number of decimals of currencies whose minor unit is not a hundredth (ISO 4217, table A.1). */
const decimals: Readonly<Record<string, number>> = Object.fromEntries([
  ...'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'.split(' ').map((code) => [code, 0]),
  ...'BHD IQD JOD KWD LYD OMR TND'.split(' ').map((code) => [code, 3]),
  ...'CLF UYW'.split(' ').map((code) => [code, 4]),
]);
const decimalsOf = (code: string): number => decimals[code] ?? 2;

/** An amount in the major unit, for people: "12.50 EUR". */
export function formatAmount(minor: number | bigint, code: string): string {
  const places = decimalsOf(code);
  const digits = String(minor)
    .replace('-', '')
    .padStart(places + 1, '0');
  const [whole, part] = [digits.slice(0, digits.length - places), digits.slice(digits.length - places)];
  return `${minor < 0 ? '-' : ''}${whole}${places === 0 ? '' : `.${part}`} ${code}`;
}

/** Reads an amount in the major unit, such as "12.50". @throws {MillraceError} E_INPUT */
export function parseAmount(text: string, code: string): number {
  const places = decimalsOf(code);
  const [, whole = '', part = ''] = /^(\d{1,13})(?:\.(\d{1,4}))?$/.exec(text) ?? [];
  const minor = Number(whole + part.padEnd(places, '0'));
  if (whole === '' || part.length > places || minor > MAX_AMOUNT)
    throw new MillraceError('E_INPUT', `${text}: expected an amount such as ${formatAmount(1250n, code)}`);
  return minor;
}
