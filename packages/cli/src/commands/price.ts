import { MillraceError } from '@millrace/base';
import { formatAmount, type Price, parseAmount, periodNumbered } from '@millrace/protocol';
import { wholeNumber } from './context.ts';

export interface PriceOptions {
  readonly price?: string;
  readonly every?: string;
  readonly from?: string;
  readonly quota?: string;
  readonly overage?: string;
}

/** The price that the options of `licence grant` state. @throws {MillraceError} E_INPUT */
export function priceOf({ price, every, from, quota, overage }: PriceOptions, now: number): Price | undefined {
  if (every === undefined && (from ?? quota ?? overage) !== undefined)
    throw new MillraceError('E_INPUT', '--from, --quota and --overage are of a subscription: add --every');
  if (price === undefined) {
    if (every === undefined) return undefined;
    throw new MillraceError('E_INPUT', '--every needs --price');
  }
  const { amount, currency } = amountOf(price, '--price');
  if (every === undefined) return { per: 'object', currency, amount };
  if (quota === undefined) throw new MillraceError('E_INPUT', '--every needs --quota');
  const beyond = overage === undefined ? undefined : amountOf(overage, '--overage');
  if (beyond !== undefined && beyond.currency !== currency)
    throw new MillraceError('E_INPUT', '--price and --overage need the same currency');
  return {
    per: 'period',
    currency,
    amount,
    ...lengthOf(every),
    start: dayOf(from ?? new Date(now).toISOString().slice(0, 10), '--from'),
    quota: wholeNumber(quota, '--quota', 1, 1_000_000),
    ...(beyond && { overage: beyond.amount }),
  };
}

/** The price in words, for people. */
export function priceText(price: Price | undefined): string | undefined {
  if (price === undefined) return undefined;
  const amount = formatAmount(price.amount, price.currency);
  if (price.per === 'object') return `${amount} for each object`;
  const { length, unit, quota, overage, currency } = price;
  const each = length === 1 ? unit : `${length} ${unit}s`;
  const beyond = overage === undefined ? 'no more' : `${formatAmount(overage, currency)} for each more`;
  const from = new Date(periodNumbered(price, 1).from).toISOString();
  return `${amount} for each ${each} from ${from}, which includes ${quota} objects; ${beyond}`;
}

/** Midnight in UTC. @throws {MillraceError} E_INPUT */
export function dayOf(text: string, option: string): number {
  const time = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  // Some engines accept 31 February.
  if (Number.isNaN(time) || new Date(time).toISOString().slice(0, 10) !== text)
    throw new MillraceError('E_INPUT', `${option}: expected a date as 2027-01-31, not ${text}`);
  return time;
}

function amountOf(text: string, option: string): { readonly amount: number; readonly currency: string } {
  const [, amount, currency] = /^(\S+) ?([A-Z]{3})$/.exec(text) ?? [];
  if (amount === undefined || currency === undefined || !Intl.supportedValuesOf('currency').includes(currency))
    throw new MillraceError('E_INPUT', `${option}: expected an amount and a currency of ISO 4217, such as "12.50 EUR"`);
  return { amount: parseAmount(amount, currency), currency };
}

function lengthOf(text: string): { readonly length: number; readonly unit: 'day' | 'month' } {
  const [, length, unit] = /^(\d{1,4}) ?(day|month)s?$/.exec(text) ?? [];
  if (length === undefined) throw new MillraceError('E_INPUT', '--every: expected for example 1month or 14days');
  return { length: wholeNumber(length, '--every', 1, 1_200), unit: unit === 'day' ? 'day' : 'month' };
}
