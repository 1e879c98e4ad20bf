import { bytesOf } from '@millrace/base';
import { z } from 'zod';
import { common, identifier } from './document-fields.ts';
import { displayName, organisationKinds, personRoles } from './shapes.ts';

// Signed documents about organisations, people and their keys (credentials.ts, revocations.ts).

/** A list of some of the values, without duplicates. */
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
 * Invites a person to this organisation, with these roles. The invitation is accepted until `expires` by proving its
 * secret. Signed by an owner-admin of the organisation or by the administrator.
 */
export const inviteMember = z.strictObject({
  type: z.literal('member.invite'),
  ...common,
  organisation: identifier,
  /** 16 random bytes, the same in every invitation of this person. */
  person: identifier,
  name: displayName,
  roles: someOf(personRoles),
  /** secp256k1 public key. Its secret key is the invitation's secret. */
  invitation: bytesOf(33),
  /** A key enrolled by this invitation counts until this time. */
  until: common.expires,
});

/** Invites another device of the signer. The invitation is accepted until `expires` by proving its secret. */
export const inviteDevice = z.strictObject({
  type: z.literal('device.invite'),
  ...common,
  invitation: bytesOf(33),
  until: common.expires,
});

/** Signed by the new key, which was generated on the person's device. */
export const enrolKey = z.strictObject({
  type: z.literal('key.enrol'),
  ...common,
  /** `keyName` of the invitation's key. */
  invitation: identifier,
  publicKey: bytesOf(33),
  /** Uncompressed P-256 point to which secrets are sealed for this key. Absent for a key that opens none. */
  sealingKey: bytesOf(65).optional(),
  device: displayName,
  /** Signature of the invitation's key over the new key (credentials.ts). */
  proof: bytesOf(64),
});

/** Length of a P-256 public key in SubjectPublicKeyInfo. */
export const TLS_KEY_BYTES = 91;

/** A user requests a TLS certificate for a key that was generated on the user's device. */
export const requestCertificate = z.strictObject({
  type: z.literal('certificate.request'),
  ...common,
  tlsKey: bytesOf(TLS_KEY_BYTES),
});

/** A user opens a session of a browser. */
export const openSession = z.strictObject({
  type: z.literal('session.open'),
  ...common,
  /** Origin of the page that asks, which the browser states: "https://millrace.example". */
  origin: z.string().max(300),
});

/** A user lets a browser, which has no certificate, upload the segments of one design. */
export const openUpload = z.strictObject({
  type: z.literal('upload.open'),
  ...common,
  design: identifier,
  /** Origin of the distribution node's listener for browsers: "https://uploads.millrace.example". */
  origin: z.string().max(300),
});

/** Maximum number of documents of one revoked key that still count. */
const MAX_KEPT = 10_000;
export const MAX_REVOKED = 1_000;

/**
 * All revocations of an organisation's keys; of any keys if `organisation` is absent. A newer list contains all entries
 * of the list that it replaces.
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
        /** Description of the key, for people. */
        name: displayName,
        /** Time of the revocation, by the clock of its signer. */
        at: common.issued,
        /** SHA-256 of each document signed by the key that still counts. */
        kept: z.array(bytesOf(32)).max(MAX_KEPT),
        /**
         * Proof that the key belongs to the organisation: its credential; for an invitation's key, [invitation,
         * signer].
         */
        credential: z.instanceof(Uint8Array).optional(),
        invitation: z.array(z.instanceof(Uint8Array)).length(2).optional(),
      }),
    )
    .min(1)
    .max(MAX_REVOKED),
});
