import { personRoles, providerKey } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { base64, byId, id, pageOf, pageQuery, time, uint } from '../fields.ts';
import { json, optional, route } from '../route.ts';

// Sessions of browsers. The cookie that `open` or `answer` sets identifies the caller of the other routes. A session only
// reads: every change is a signed transaction.

export const sessionAnswer = z.object({
  key: id.describe('name of the key; of a session by company sign-in, the person'),
  company: z.boolean().describe('opened by company sign-in, without a key'),
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

/** How much of an address the provider may send back with the person. */
const MAX_ANSWER = 4_096;

export const companySignInRoutes = {
  begin: route('POST', '/v1/company-sign-ins', {
    summary:
      'begins a sign-in at the organisation’s OpenID provider; the answer sets a cookie that binds it to the browser',
    callers: ['guest', 'user'],
    action: 'session.open',
    body: json(
      z.strictObject({
        organisation: id,
        nonce: z
          .string()
          .regex(/^[\w-]{43}$/)
          .optional()
          .describe('commits to a key of the browser, which is to be enrolled: no session is opened'),
      }),
    ),
    answer: json(
      z.object({
        address: z.url({ protocol: /^https?$/ }).describe('where the person signs in'),
        issuer: z.string().describe('the provider, as the organisation has named it'),
        organisationName: z.string(),
      }),
    ),
    maxBody: 1_024,
    errors: ['E_NOT_FOUND', 'E_PROVIDER', 'E_SIGN_IN', 'E_EXPIRED', 'E_REVOKED', 'E_TIMEOUT', 'E_QUOTA'],
  }),
  answer: route('POST', '/v1/company-sign-ins/answer', {
    summary: 'ends the browser’s sign-in with what the provider has answered',
    callers: ['guest', 'user'],
    action: 'session.open',
    body: json(
      z.strictObject({
        answer: z.string().max(MAX_ANSWER).describe('query of the address to which the provider sent the person back'),
      }),
    ),
    answer: json(
      z.object({
        session: sessionAnswer.optional(),
        enrolment: z.object({ idToken: z.string(), providerKey }).optional().describe('for a sign-in with a nonce'),
      }),
    ),
    maxBody: 8_192,
    errors: [
      'E_PROVIDER',
      'E_SIGN_IN',
      'E_SIGNATURE',
      'E_CONFLICT',
      'E_EXPIRED',
      'E_CLOCK',
      'E_REVOKED',
      'E_TIMEOUT',
      'E_QUOTA',
    ],
  }),
};

export const signInAnswer = z.object({
  at: time,
  key: id.describe('name of the key; of a company sign-in without a key, the person'),
  company: z.boolean().describe('by company sign-in, without a key'),
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
