import { personRoles } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { base64, byId, id, pageOf, pageQuery, time, uint } from '../fields.ts';
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

export const signInAnswer = z.object({
  at: time,
  key: id,
  name: z.string(),
  device: z.string().optional(),
  address: z.string().describe('IP address, as the console saw it'),
  refused: z.boolean().describe('the key was revoked'),
});
export type SignInView = z.output<typeof signInAnswer>;

export const signInLogRoutes = {
  signIns: route('GET', '/v1/organisations/{id}/sign-ins', {
    summary: 'sign-ins of an organisation’s people at the console in the last 90 days, for its owner-admins',
    callers: ['user'],
    action: 'session.list',
    params: byId,
    query: pageQuery,
    answer: json(pageOf(signInAnswer)),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
};
