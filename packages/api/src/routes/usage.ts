import { usageRecordSchema } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { id, pageOf, pageQuery, party, time, uint } from '../fields.ts';
import { json, route } from '../route.ts';

/** Records with `from` ≤ time < `to`. */
const span = {
  from: z.coerce.number<number>().int().nonnegative().optional().describe('ms since 1970; records from then on'),
  to: z.coerce.number<number>().int().nonnegative().optional().describe('ms since 1970; records before'),
};
const spanQuery = z.strictObject(span);
export type UsageSpan = z.output<typeof spanQuery>;

const usageQuery = z.strictObject({ ...pageQuery.shape, licence: id.optional(), ...span });
export type UsageQuery = z.output<typeof usageQuery>;

const usageTotalAnswer = z.object({
  owner: party,
  currency: z.string().optional(),
  objects: z.int().describe('permitted and not credited'),
  credits: uint,
  amount: z.string().describe('decimal, in the minor unit of the currency'),
});
export type UsageTotalView = z.output<typeof usageTotalAnswer>;

const callers = ['user'] as const;

export const usageRoutes = {
  list: route('GET', '/v1/usage', {
    summary:
      'usage records of the caller’s licences, computed from the ledger: all that it granted, its own of those held',
    callers,
    action: 'usage.list',
    query: usageQuery,
    answer: json(
      pageOf(usageRecordSchema).extend({
        size: uint.describe('entries of the ledger that the records come from'),
        at: time.describe('time until which periods are charged'),
      }),
    ),
  }),
  totals: route('GET', '/v1/usage/totals', {
    summary: 'totals of all owners, for the administrator',
    callers,
    action: 'usage.total',
    query: spanQuery,
    answer: json(z.object({ totals: z.array(usageTotalAnswer) })),
    errors: ['E_FORBIDDEN'],
  }),
};
