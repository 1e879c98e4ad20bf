import { bytesOf } from '@millrace/base';
import { z } from 'zod';
import { common, identifier } from './document-fields.ts';
import { displayName, organisationKinds, personRoles } from './shapes.ts';

// What is signed about organisations, people and their keys (credentials.ts, revocations.ts).

/** Some of the values, each once. */
const someOf = <const T extends readonly [string, ...string[]]>(values: T) =>
  z
    .array(z.enum(values))
    .min(1)
    .max(values.length)
    .refine((list) => new Set(list).size === list.length, { error: 'a value is listed twice' });

/** The administrator creates an organisation. */
export const registerOrganisation = z.strictObject({
  type: z.literal('organisation.register'),
  ...common,
  organisation: identifier,
  name: displayName,
  kinds: someOf(organisationKinds),
});

/**
 * Whoever proves to have the secret of this invitation, until `expires`, is this person in this organisation, with these
 * roles. Signed by an owner-admin of the organisation or by the administrator.
 */
export const inviteMember = z.strictObject({
  type: z.literal('member.invite'),
  ...common,
  organisation: identifier,
  /** 16 random bytes: the same in every invitation of this person. */
  person: identifier,
  name: displayName,
  roles: someOf(personRoles),
  /** secp256k1 key whose secret key is the invitation's secret. */
  invitation: bytesOf(33),
  /** Until when a key that is enrolled by this invitation counts. */
  until: common.expires,
});

/** Whoever proves to have the secret of this invitation, until `expires`, is another device of the person who signs. */
export const inviteDevice = z.strictObject({
  type: z.literal('device.invite'),
  ...common,
  invitation: bytesOf(33),
  until: common.expires,
});

/** Signed by the new key, which was made where the person is. */
export const enrolKey = z.strictObject({
  type: z.literal('key.enrol'),
  ...common,
  /** `keyName` of the invitation's key. */
  invitation: identifier,
  publicKey: bytesOf(33),
  device: displayName,
  /** Signature of the invitation's key over the new key (credentials.ts). */
  proof: bytesOf(64),
});

/** Length of a P-256 public key in SubjectPublicKeyInfo. */
export const TLS_KEY_BYTES = 91;

/** A user asks for a TLS certificate for a key that was made where the user is. */
export const requestCertificate = z.strictObject({
  type: z.literal('certificate.request'),
  ...common,
  tlsKey: bytesOf(TLS_KEY_BYTES),
});

/** Documents of one revoked key that still count. */
const MAX_KEPT = 10_000;
export const MAX_REVOKED = 1_000;

/**
 * Every revocation of an organisation's keys, or of any key when `organisation` is absent. A newer list contains all
 * entries of the list that it replaces.
 */
export const revocationListSchema = z.strictObject({
  type: z.literal('revocations'),
  ...common,
  organisation: identifier.optional(),
  sequence: z
    .number()
    .int()
    .min(1)
    .max(2 ** 31),
  entries: z
    .array(
      z.strictObject({
        /** `keyName` of a user's key or of an invitation's key. */
        key: identifier,
        /** What the key was: for people. */
        name: displayName,
        /** When it was revoked, by the clock of who revoked it. */
        at: common.issued,
        /** SHA-256 of each document, as it was signed by the key, that still counts. */
        kept: z.array(bytesOf(32)).max(MAX_KEPT),
        /** That the key belongs to the organisation: its credential; of an invitation's key, [invitation, signer]. */
        credential: z.instanceof(Uint8Array).optional(),
        invitation: z.array(z.instanceof(Uint8Array)).length(2).optional(),
      }),
    )
    .min(1)
    .max(MAX_REVOKED),
});
