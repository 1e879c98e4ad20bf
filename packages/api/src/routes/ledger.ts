import { z } from 'zod';
import { base64, MAX_LIMIT, pageOf, pageQuery, uint } from '../fields.ts';
import { bytes, json, route, text } from '../route.ts';

const callers = ['user'] as const;

export const ledgerCheckAnswer = z.object({
  ok: z.boolean(),
  size: uint.optional().describe('what the checkpoint states; absent when there is none that verifies'),
  root: base64.nullable(),
  entries: uint.describe('entries found'),
  accounts: uint.optional().describe('for the administrator'),
  problems: z
    .array(z.looseObject({}))
    .describe('causes before consequences, at most 100; accounts are named to the administrator only'),
  more: uint.describe('problems that are not listed'),
});
export type LedgerCheckView = z.output<typeof ledgerCheckAnswer>;

export const openingAnswer = z.object({
  index: uint.describe('of the entry in the log'),
  opening: base64.describe('salt and event, spec/ledger.md'),
});
export type OpeningView = z.output<typeof openingAnswer>;

export const mapQuery = z.strictObject({
  size: uint.describe('tree head that the caller has: the map covers all its entries, except a root that is the last'),
  accounts: z.array(z.string().min(1).max(256)).min(1).max(MAX_LIMIT),
});
export type MapQuery = z.input<typeof mapQuery>;

const mapValue = { sequence: uint.describe('of the newest event'), hash: base64.describe('leaf hash of its entry') };
export const mapAnswer = z.object({
  index: uint.describe('of the entry that logs the root; the map covers the entries before it'),
  proofs: z
    .array(
      z.object({
        newest: z.object(mapValue).optional().describe('absent if the account has no event'),
        siblings: z.array(base64).max(256).describe('hashes from the root downwards'),
        other: z
          .object({ key: base64, ...mapValue })
          .optional()
          .describe('leaf that takes the place of an absent account'),
      }),
    )
    .describe('in the order of the accounts'),
});
export type MapAnswer = z.output<typeof mapAnswer>;

export const ledgerRoutes = {
  checkpoint: route('GET', '/v1/ledger/checkpoint', {
    summary: 'newest signed checkpoint (C2SP)',
    callers,
    action: 'ledger.read',
    answer: text,
  }),
  tile: route('GET', '/v1/ledger/tile/{path*}', {
    summary: 'tiles and entry bundles (C2SP tlog-tiles)',
    callers,
    action: 'ledger.read',
    params: z.strictObject({ path: z.string().max(300) }),
    answer: bytes,
    errors: ['E_NOT_FOUND'],
  }),
  openings: route('GET', '/v1/ledger/openings', {
    summary: 'openings of the entries about what the caller may read, in the order of the log',
    callers,
    action: 'ledger.read',
    query: pageQuery,
    answer: json(pageOf(openingAnswer)),
  }),
  map: route('POST', '/v1/ledger/map', {
    summary: 'proofs of the newest events of accounts, or of their absence, in the map of accounts',
    callers,
    action: 'ledger.read',
    body: json(mapQuery),
    answer: json(mapAnswer),
    errors: ['E_FORBIDDEN', 'E_LEDGER_ENTRY', 'E_LEDGER_TRUNCATED'],
  }),
  verify: route('GET', '/v1/ledger/verify', {
    summary: 'replay the whole log',
    callers,
    action: 'ledger.read',
    answer: json(ledgerCheckAnswer),
  }),
};
