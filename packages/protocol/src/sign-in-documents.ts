import { bytesOf } from '@millrace/base';
import { z } from 'zod';
import { common, identifier } from './document-fields.ts';
import { displayName, providerKey, signInRoles } from './shapes.ts';

// Signed documents of company sign-in by OpenID Connect (sign-in-credential.ts).

/** Maximum validity of a key that is enrolled by a sign-in, ms. */
export const SIGN_IN_KEY_MS = 7 * 86_400_000;

const name = z.string().min(1).max(200);

/**
 * The provider to whose people the organisation gives roles, and the provider's keys. Signed by an owner-admin of the
 * organisation or the administrator. A newer document replaces it.
 */
export const organisationSignIn = z.strictObject({
  type: z.literal('organisation.signin'),
  ...common,
  organisation: identifier,
  /** Exactly as in the provider's ID tokens. */
  issuer: z.url({ protocol: /^https?$/ }).max(200),
  clientId: name,
  /** Name of the claim that lists the person's groups. */
  claim: z.string().min(1).max(200),
  mapping: z
    .array(z.strictObject({ group: name, roles: z.array(z.enum(signInRoles)).min(1).max(signInRoles.length) }))
    .min(1)
    .max(100),
  /** Domains of the admitted e-mail addresses, lower case. */
  domains: z
    .array(z.string().regex(/^[a-z0-9-]+(\.[a-z0-9-]+)*$/, { error: 'expected a domain in lower case' }))
    .min(1)
    .max(50),
  /** SHA-256 thumbprints (RFC 7638) of the keys with which the provider signs. */
  keys: z.array(bytesOf(32)).min(1).max(16),
  /** How long an enrolled key counts after the sign-in, ms. */
  keyMs: z.number().int().min(60_000).max(SIGN_IN_KEY_MS),
  /** Nobody is enrolled with this document, and no key enrolled with it counts, after this time. */
  until: common.expires,
});

/**
 * Enrols a key by a sign-in at the organisation's provider. Signed by the new key, to which the nonce of the ID token
 * commits.
 */
export const signInKey = z.strictObject({
  type: z.literal('key.signin'),
  ...common,
  organisation: identifier,
  /** Id of the `organisation.signin`. */
  signIn: identifier,
  publicKey: bytesOf(33),
  /** Uncompressed P-256 point to which secrets are sealed for this key. */
  sealingKey: bytesOf(65),
  device: displayName,
  /** The ID token, compact serialisation. */
  idToken: z
    .string()
    .max(8_192)
    .regex(/^[\w-]+\.[\w-]+\.[\w-]+$/, { error: 'expected an ID token' }),
  /** The provider's key that signed the ID token. */
  providerKey,
  random: bytesOf(32),
});
