import { tokenScopes } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { base64, byId, id, pageOf, pageQuery, time } from '../fields.ts';
import { json, route } from '../route.ts';

// API tokens. They are created and revoked by signed transactions.

const callers = ['user'] as const;

const tokenAnswer = z.object({
  token: id,
  prefix: z.string().describe('beginning of the token, not secret'),
  name: z.string(),
  scopes: z.array(z.enum(tokenScopes)),
  key: id.describe('the key that signed its creation, for which it acts'),
  by: z.string().describe('name of the person'),
  organisation: id.optional(),
  created: time,
  until: time,
  lastUsed: time.optional().describe('to the minute'),
  revoked: z.object({ at: time, by: id }).optional(),
  document: base64.describe('`token.create` as it was signed'),
});
export type TokenView = z.output<typeof tokenAnswer>;

export const tokenRoutes = {
  list: route('GET', '/v1/tokens', {
    summary: 'API tokens of the calling key',
    callers,
    action: 'token.list',
    query: pageQuery,
    answer: json(pageOf(tokenAnswer)),
  }),
  current: route('GET', '/v1/tokens/current', {
    summary: 'the API token of this request, and the public key of its person',
    callers,
    action: 'token.readCurrent',
    answer: json(tokenAnswer.extend({ publicKey: base64 })),
    errors: ['E_NOT_FOUND'],
  }),
};

export const organisationTokenRoutes = {
  tokens: route('GET', '/v1/organisations/{id}/tokens', {
    summary: 'API tokens of the people in an organisation, for its owner-admins',
    callers,
    action: 'token.listAll',
    params: byId,
    query: pageQuery,
    answer: json(pageOf(tokenAnswer)),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
};
