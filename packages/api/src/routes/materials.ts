import { z } from 'zod';
import { base64, byId, id, pageOf, pageQuery, time, uint } from '../fields.ts';
import { json, route } from '../route.ts';

// Certified materials. Which spool is loaded where, and how much is left, is control's record.

export const materialAnswer = z.object({
  spool: id.describe('id of its certificate'),
  certificate: base64.describe('as the supplier signed it, see spec/protocol.md'),
  supplier: base64.describe('credential of the signer: proof to the administrator’s key'),
  created: time,
});
export type MaterialView = z.output<typeof materialAnswer>;

export const spoolAnswer = z.object({
  spool: id.describe('id of its certificate; without one, of the first statement that it is loaded'),
  name: z.string(),
  serial: z.string().optional().describe('the supplier’s serial number'),
  supplier: z.object({ organisation: id, name: z.string() }).optional().describe('absent if nobody certifies it'),
  machine: id.optional().describe('where it is loaded'),
  grams: uint.optional().describe('net, when it was full'),
  used: uint.describe('grams that machines have reported, each object rounded up'),
  by: id.describe('key of the operator who loaded it'),
  at: time,
  number: uint.describe('of the newest statement on it'),
});
export type SpoolView = z.output<typeof spoolAnswer>;

export const spoolRoutes = {
  list: route('GET', '/v1/spools', {
    summary: 'spools that the caller or the caller’s organisation has loaded; every spool for the administrator',
    callers: ['user'],
    action: 'spool.list',
    query: pageQuery,
    answer: json(pageOf(spoolAnswer)),
  }),
};

export const spoolStatementAnswer = z.object({
  statement: id,
  spool: id,
  at: time,
  used: uint.describe('grams of the spool that machines had reported before'),
  transaction: base64.describe('`spool.load` or `spool.unload`, as its signer signed it: the caller must verify it'),
  credential: base64.describe('of the signer; empty for the administrator'),
  supplier: base64.optional().describe('credential of the signer of the certificate in `spool.load`'),
});
export type SpoolStatementView = z.output<typeof spoolStatementAnswer>;

export const spoolStatementRoutes = {
  statements: route('GET', '/v1/machines/{id}/spools', {
    summary:
      'statements on a machine’s spools, the oldest first: of spools that the caller’s party has loaded; all for the administrator',
    callers: ['user'],
    action: 'spool.list',
    params: byId,
    query: pageQuery,
    answer: json(pageOf(spoolStatementAnswer)),
    errors: ['E_NOT_FOUND'],
  }),
};

export const materialRoutes = {
  list: route('GET', '/v1/materials', {
    summary: 'material certificates of the caller’s organisation, the newest first',
    callers: ['user'],
    action: 'material.list',
    query: pageQuery,
    answer: json(pageOf(materialAnswer)),
  }),
};
