import { changeKinds } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { byId, id, pageOf, pageQuery, time, uint } from '../fields.ts';
import { json, route } from '../route.ts';
import { changeEvent } from './events.ts';

// Webhooks. They are created, turned on and off, and sent again by signed transactions.

const callers = ['user'] as const;

/** Why a webhook is off: somebody has said so, its key no longer counts, the receiver is gone, or it failed for days. */
export const webhookOffReasons = ['person', 'key', 'gone', 'failing'] as const;

const webhookAnswer = z.object({
  webhook: id,
  name: z.string(),
  url: z.string(),
  kinds: z.array(z.enum(changeKinds)).optional().describe('absent: all'),
  key: id.describe('the key that signed its creation; it is told what this key may read'),
  by: z.string().describe('name of the person'),
  organisation: id.optional(),
  created: time,
  off: z.object({ at: time, reason: z.enum(webhookOffReasons) }).optional(),
  failingSince: time.optional().describe('the first failure since the last message that was received'),
  waiting: uint.describe('messages that have not been received yet'),
  formerSecretUntil: time.optional().describe('until then, messages are signed with the former secret, too'),
});
export type WebhookView = z.output<typeof webhookAnswer>;

/** What became of a message. `withheld`: the key may no longer read what it tells. */
export const webhookMessageStates = ['waiting', 'received', 'failed', 'withheld'] as const;

const messageAnswer = z.object({
  message: id.describe('`webhook-id` in the request'),
  type: z.string(),
  change: changeEvent.optional(),
  created: time,
  state: z.enum(webhookMessageStates),
  attempts: uint,
  next: time.optional().describe('the next attempt'),
  last: z
    .object({
      at: time,
      status: uint.optional().describe('HTTP status of the answer'),
      code: z.string().optional().describe('why there was no answer'),
    })
    .optional(),
});
export type WebhookMessageView = z.output<typeof messageAnswer>;

export const webhookRoutes = {
  list: route('GET', '/v1/webhooks', {
    summary: 'webhooks of the calling key',
    callers,
    action: 'webhook.list',
    query: pageQuery,
    answer: json(pageOf(webhookAnswer)),
  }),
  messages: route('GET', '/v1/webhooks/{id}/messages', {
    summary: 'what was sent to a webhook in the last seven days, of what the caller may read, the newest first',
    callers,
    action: 'webhook.read',
    params: byId,
    query: pageQuery,
    answer: json(pageOf(messageAnswer)),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
};

export const organisationWebhookRoutes = {
  webhooks: route('GET', '/v1/organisations/{id}/webhooks', {
    summary: 'webhooks of the people in an organisation, for its owner-admins',
    callers,
    action: 'webhook.listAll',
    params: byId,
    query: pageQuery,
    answer: json(pageOf(webhookAnswer)),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
};
