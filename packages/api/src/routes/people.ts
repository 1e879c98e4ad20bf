import { organisationKinds, personRoles } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { base64, byId, bytesField, id, pageOf, pageQuery, signer, time, uint } from '../fields.ts';
import { bytes, cbor, json, route } from '../route.ts';

// Organisations, their members' keys, invitations and revocations.

const callers = ['user'] as const;
/** An invited person has no certificate yet. */
const guests = ['guest', 'user'] as const;
const params = byId;
/** Guests are unauthenticated: they send no more than one document. */
const maxBody = 16_384;

export const organisationAnswer = z.object({
  organisation: id,
  name: z.string(),
  kinds: z.array(z.enum(organisationKinds)),
  created: time,
  document: base64.describe('the registration as the administrator signed it'),
});
export type OrganisationView = z.output<typeof organisationAnswer>;

export const keyAnswer = z.object({
  key: id,
  name: z.string(),
  person: id.optional(),
  organisation: id.optional(),
  roles: z.array(z.enum(personRoles)).optional(),
  device: z.string().optional(),
  until: time.optional().describe('when it stops counting'),
  created: time.optional(),
  invitedBy: id.optional().describe('the key that signed the invitation'),
  inviter: signer.optional().describe('who that is'),
  invitation: id.optional(),
  revoked: z
    .object({ at: time, organisation: id.optional(), kept: uint.describe('documents that still count') })
    .optional(),
  credential: base64.describe('proof to the administrator’s key, see spec/protocol.md'),
});
export type KeyView = z.output<typeof keyAnswer>;

export const invitationAnswer = z.object({
  invitation: id.describe('name of its key'),
  organisation: id,
  person: id,
  name: z.string(),
  roles: z.array(z.enum(personRoles)),
  created: time,
  expires: time,
  invitedBy: id,
  inviter: signer,
  usedBy: id.optional().describe('the key that was enrolled by it'),
  revoked: z.boolean(),
  document: base64,
  signer: base64.describe('credential of who signed it, or the registration of the organisation'),
});
export type InvitationView = z.output<typeof invitationAnswer>;

export const signedDocumentAnswer = z.object({
  type: z.string(),
  hash: base64.describe('SHA-256 of the document: how a revocation names it'),
  about: z.string().describe('the licence, invitation or design'),
});
export type SignedDocumentView = z.output<typeof signedDocumentAnswer>;

export const organisationRoutes = {
  list: route('GET', '/v1/organisations', {
    summary: 'every organisation',
    callers,
    action: 'organisation.list',
    query: pageQuery,
    answer: json(pageOf(organisationAnswer)),
  }),
  keys: route('GET', '/v1/organisations/{id}/keys', {
    summary: 'keys of the people in an organisation, for its members',
    callers,
    action: 'member.list',
    params,
    query: pageQuery,
    answer: json(pageOf(keyAnswer)),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
  invitations: route('GET', '/v1/organisations/{id}/invitations', {
    summary: 'invitations to an organisation, for its members',
    callers,
    action: 'member.list',
    params,
    query: pageQuery,
    answer: json(pageOf(invitationAnswer)),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
};

export const keyRoutes = {
  get: route('GET', '/v1/keys/{id}', {
    summary: 'who a key belongs to, for those who know the key',
    callers,
    action: 'key.read',
    params,
    answer: json(keyAnswer),
    errors: ['E_NOT_FOUND'],
  }),
  documents: route('GET', '/v1/keys/{id}/documents', {
    summary: 'what a key has signed that counts until it is revoked, for those who may revoke it',
    callers,
    action: 'key.revoke',
    params,
    answer: json(z.object({ documents: z.array(signedDocumentAnswer) })),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
};

export const enrolmentRoutes = {
  signIn: route('GET', '/v1/organisations/{id}/sign-in', {
    summary: 'how the people of an organisation sign in, for whoever knows its identifier',
    callers: guests,
    action: 'signIn.read',
    params,
    answer: json(z.object({ document: base64, signer: base64 })),
    errors: ['E_NOT_FOUND'],
  }),
  invitation: route('GET', '/v1/invitations/{id}', {
    summary: 'an invitation, for whoever has its secret and so knows its name',
    callers: guests,
    action: 'invitation.read',
    params,
    answer: json(z.object({ document: base64, signer: base64 })),
    errors: ['E_NOT_FOUND'],
  }),
  enrol: route('POST', '/v1/enrolments', {
    summary: 'enrol a key by an invitation or a company sign-in',
    callers: guests,
    action: 'key.enrol',
    body: json(z.strictObject({ enrolment: base64 })),
    answer: json(z.object({ key: id, credential: base64 })),
    maxBody,
    errors: [
      ...(['E_NOT_FOUND', 'E_SIGNATURE', 'E_EXPIRED', 'E_CLOCK', 'E_INVITATION', 'E_SIGN_IN', 'E_FORBIDDEN'] as const),
      'E_CONFLICT',
    ],
  }),
  certificate: route('POST', '/v1/certificates', {
    summary: 'a TLS certificate for a user who signs the request',
    callers: guests,
    action: 'certificate.issue',
    body: json(z.strictObject({ request: base64 })),
    answer: json(z.object({ certificate: z.string().describe('PEM') })),
    maxBody,
    errors: ['E_SIGNATURE', 'E_EXPIRED', 'E_CLOCK', 'E_STATE'],
  }),
};

/** Maximum list of revocations, bytes. */
export const MAX_REVOCATION_LIST = 4 * 1024 * 1024;

export const revocationRoutes = {
  get: route('GET', '/v1/revocations', {
    summary: 'every list of revoked keys that the node has accepted; none when the caller holds the same',
    callers: ['user', 'machine', 'control', 'segments', 'keys', 'distribution'],
    action: 'revocation.read',
    query: z.strictObject({
      held: z.string().max(64).optional().describe('digest of the lists that the caller holds'),
    }),
    answer: cbor(z.array(bytesField)),
  }),
  publish: route('POST', '/v1/revocations', {
    summary: 'a newer list of revoked keys; its signature decides',
    callers,
    action: 'revocation.publish',
    body: bytes,
    maxBody: MAX_REVOCATION_LIST,
    errors: ['E_SIGNATURE', 'E_FORBIDDEN', 'E_CONFLICT', 'E_EXPIRED', 'E_STATE'],
  }),
};
