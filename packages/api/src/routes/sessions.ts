import { personRoles } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { base64, id, time, uint } from '../fields.ts';
import { json, optional, route } from '../route.ts';

// Sessions of browsers. The cookie that `open` sets identifies the caller of the other routes. A session only reads:
// every change is a signed transaction.

export const sessionAnswer = z.object({
  key: id,
  name: z.string(),
  organisation: id.optional(),
  organisationName: z.string().optional(),
  roles: z.array(z.enum(personRoles)).optional().describe('absent: the key acts in every role'),
  admin: z.boolean(),
  until: time.describe('when the session ends at the latest'),
  uploads: z.string().optional().describe('origin to which browsers upload; absent if there is none'),
  idleMs: uint.describe('it ends earlier after this time without a request'),
});
export type SessionView = z.output<typeof sessionAnswer>;

export const sessionRoutes = {
  open: route('POST', '/v1/sessions', {
    summary: 'a session for a user who signs the request; the answer sets its cookie',
    callers: ['guest', 'user'],
    action: 'session.open',
    body: json(z.strictObject({ request: base64.describe('`session.open`') })),
    answer: json(sessionAnswer),
    maxBody: 16_384,
    errors: ['E_SIGNATURE', 'E_REPLAY', 'E_EXPIRED', 'E_CLOCK', 'E_QUOTA'],
  }),
  current: route('GET', '/v1/sessions/current', {
    summary: 'the session of this request; none for somebody who is not signed in',
    callers: ['guest', 'user'],
    action: 'session.read',
    answer: optional(sessionAnswer),
  }),
  close: route('DELETE', '/v1/sessions/current', {
    summary: 'ends the session of this request',
    callers: ['user'],
    action: 'session.close',
  }),
};
