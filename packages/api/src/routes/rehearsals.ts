import { rehearsalRules } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { base64, byId, bytesField, id, pageOf, pageQuery, party, signer, time, uint } from '../fields.ts';
import { json, route } from '../route.ts';

export const rehearsalAnswer = z.object({
  rehearsal: id,
  licence: id,
  design: id,
  machine: id,
  owner: party,
  holder: party,
  requestedBy: signer,
  created: time,
  startBy: time.describe('a rehearsal that the machine has not taken by then has expired'),
  state: z.enum(['queued', 'answered', 'refused', 'expired']),
  outcome: z.enum(['fits', 'does-not-fit']).optional().describe('what the machine has signed'),
  rules: z.array(z.enum(rehearsalRules)).optional().describe('why the design does not fit'),
  policy: z.boolean().optional().describe('whether the machine has a safety policy'),
  code: z.string().optional().describe('why control or the machine has refused to judge'),
  request: base64.describe('the signed request'),
  result: base64.optional().describe('the machine’s signed answer: the caller must verify it'),
});
export type RehearsalView = z.output<typeof rehearsalAnswer>;

const callers = ['user'] as const;

export const rehearsalRoutes = {
  list: route('GET', '/v1/rehearsals', {
    summary: 'rehearsals of own designs or licences',
    callers,
    action: 'rehearsal.list',
    query: pageQuery,
    answer: json(pageOf(rehearsalAnswer)),
  }),
  get: route('GET', '/v1/rehearsals/{id}', {
    summary: 'one rehearsal',
    callers,
    action: 'rehearsal.read',
    params: byId,
    answer: json(rehearsalAnswer),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
};

const attested = z.strictObject({ transaction: bytesField, credential: bytesField });

/** What a machine needs to rehearse. None of it counts an object. */
export const rehearsalWork = z.strictObject({
  rehearsal: id,
  request: attested,
  licence: attested,
  amendments: z.array(attested),
  core: bytesField,
  /** How far the design goes, sealed under its secret. */
  envelope: bytesField,
  machine: z.record(z.string(), z.unknown()),
  membership: z.strictObject({ statement: attested, assignment: bytesField }).optional(),
  /** What is left on the loaded spool by the reports so far, g. */
  left: uint.optional(),
});
