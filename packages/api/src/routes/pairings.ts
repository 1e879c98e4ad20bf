import { z } from 'zod';
import { base64, byId, id } from '../fields.ts';
import { json, route } from '../route.ts';

// Pairing of an agent that has no certificate yet (spec/pairing.md). The id is derived from the code that the agent
// shows: whoever knows one knows the other. Control cannot read the code from what it carries.

/** A message with its tag and the largest credential, in base64, twice. */
const maxBody = 80_000;

const pairingAnswer = z.object({
  pairing: id,
  answer: base64.describe('the operator’s answer, with the pairing that the operator signed'),
});
export type PairingView = z.output<typeof pairingAnswer>;

export const pairingRoutes = {
  offer: route('PUT', '/v1/pairings/{id}', {
    summary: 'offer the keys of an agent for pairing; repeated until the agent has its certificate',
    callers: ['guest', 'user'],
    action: 'pairing.offer',
    params: byId,
    body: json(
      z.strictObject({
        offer: base64,
        answer: base64.optional().describe('the operator’s answer, once the agent has accepted it'),
      }),
    ),
    answer: json(
      z.object({ answer: base64.optional(), certificate: z.string().optional().describe('TLS certificate, PEM') }),
    ),
    maxBody,
    errors: ['E_CONFLICT', 'E_QUOTA'],
  }),
  get: route('GET', '/v1/pairings/{id}', {
    summary: 'the offer of an agent, for an operator who has its code',
    callers: ['user'],
    action: 'pairing.answer',
    params: byId,
    answer: json(
      z.object({ offer: base64, certified: z.boolean().describe('whether the administrator has admitted') }),
    ),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
  answer: route('POST', '/v1/pairings/{id}/answer', {
    summary: 'answer an agent, once',
    callers: ['user'],
    action: 'pairing.answer',
    params: byId,
    body: json(z.strictObject({ answer: base64 })),
    maxBody,
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN', 'E_CONFLICT'],
  }),
  list: route('GET', '/v1/pairings', {
    summary: 'agents whose operators have paired them and that wait for the administrator',
    callers: ['user'],
    action: 'pairing.admit',
    answer: json(z.object({ pairings: z.array(pairingAnswer) })),
    errors: ['E_FORBIDDEN'],
  }),
  admit: route('POST', '/v1/pairings/{id}/certificate', {
    summary: 'give a paired agent its TLS certificate',
    callers: ['user'],
    action: 'pairing.admit',
    params: byId,
    body: json(z.strictObject({ certificate: z.string().max(16_384) })),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
};
