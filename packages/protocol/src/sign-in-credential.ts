import { type Bytes, concatBytes, copyBytes, equalBytes, fromHex, MillraceError, toHex, utf8 } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { keyName } from '@millrace/identity';
import { base64url, calculateJwkThumbprint, compactVerify, decodeJwt, importJWK } from 'jose';
import { z } from 'zod';
import { CLOCK_SKEW_MS, type Directory } from './directory.ts';
import { onlyKey, readTransaction, type TransactionOf, verifyTransaction } from './documents.ts';
import { requireCounting } from './revoked.ts';
import { displayName, type PersonRole, type ProviderKey, type SignInRole } from './shapes.ts';

// Keys enrolled by company sign-in. The nonce of the ID token commits to the new key, as in OpenPubkey
// (https://eprint.iacr.org/2023/296), and an owner-admin's signed document pins the provider's keys. So neither control
// nor the network can put another key in the place of the person's. This module replaces an invitation and its
// enrolment in a credential (credentials.ts).

type Named = Pick<Directory, 'installation' | 'adminKey' | 'revocations'>;
export type SignInDocument = TransactionOf<'organisation.signin'>;

/** Whoever signed the organisation's sign-in; undefined for the administrator. */
interface Signer {
  readonly publicKey: Bytes;
  readonly roles: readonly PersonRole[];
  readonly until: number;
}

/** Who signed in at the organisation's provider. */
export interface SignedInPerson {
  /** E-mail address. */
  readonly name: string;
  readonly until: number;
  readonly person: string;
  readonly roles: readonly SignInRole[];
}

export interface SignedIn extends SignedInPerson {
  readonly publicKey: Bytes;
  readonly sealingKey: Bytes;
  readonly device: string;
}

/** Signature algorithms (RFC 7518, RFC 8037) that the kinds of keys may use. */
const algorithms: Readonly<Record<ProviderKey['kty'], string[]>> = {
  RSA: ['RS256', 'PS256'],
  EC: ['ES256'],
  OKP: ['EdDSA', 'Ed25519'],
};

const claimsSchema = z.looseObject({
  iss: z.string(),
  aud: z.union([z.string(), z.array(z.string())]),
  azp: z.string().optional(),
  sub: z.string().min(1).max(255),
  nonce: z.string(),
  iat: z.number().int().nonnegative(),
  exp: z.number().int().nonnegative(),
  email: z.string(),
  email_verified: z.literal(true),
});
export type IdTokenClaims = z.output<typeof claimsSchema>;

const refused = (why: string) => new MillraceError('E_SIGN_IN', `the sign-in is not admitted: ${why}`);

/** The nonce for a sign-in that enrols `publicKey`. @param random 32 bytes */
export function signInNonce(
  installation: string,
  organisation: string,
  publicKey: Uint8Array,
  random: Uint8Array,
): string {
  const label = utf8('millrace/v1/sign-in/');
  return base64url.encode(sha256(label, fromHex(installation), fromHex(organisation), publicKey, random));
}

/** The same person at every sign-in: first 16 bytes of a hash over organisation, issuer and subject. */
export function signInPerson(organisation: string, issuer: string, subject: string): string {
  const label = utf8('millrace/v1/sign-in-person/');
  const parts = [utf8(issuer), utf8(subject)].map((part) => sha256(part));
  return toHex(sha256(concatBytes(label, fromHex(organisation), ...parts)).subarray(0, 16));
}

/** RFC 7638, SHA-256. */
export async function providerKeyThumbprint(key: ProviderKey): Promise<Bytes> {
  return copyBytes(base64url.decode(await calculateJwkThumbprint(key, 'sha256')));
}

/** Whether a document takes the place of `key.enrol` in a credential. @throws {MillraceError} E_SIGNATURE, E_INPUT */
export function isSignIn(enrolment: Uint8Array): boolean {
  return readTransaction(enrolment).type === 'key.signin';
}

/**
 * The names by which revocations refuse an enrolment that was verified before: that of the sign-in, and the person.
 */
export function signInNames({ organisation, signIn, idToken }: TransactionOf<'key.signin'>): readonly string[] {
  const { iss = '', sub = '' } = decodeJwt(idToken);
  return [signIn, signInPerson(organisation, iss, sub)];
}

/** The e-mail address that an ID token claims. Verifies nothing. @throws {MillraceError} E_INPUT */
export function claimedEmail(idToken: string): string {
  try {
    return z.string().parse(decodeJwt(idToken).email);
  } catch (cause) {
    throw new MillraceError('E_INPUT', 'not an ID token with an e-mail address', { cause });
  }
}

/**
 * Verifies an organisation's sign-in.
 * @param by credential of its signer; undefined for the administrator
 * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_FORBIDDEN, E_EXPIRED, E_REVOKED
 */
export async function verifySignInDocument(
  document: Uint8Array,
  by: Signer | undefined,
  organisation: string,
  directory: Named,
): Promise<SignInDocument> {
  const signer = by?.publicKey ?? fromHex(directory.adminKey);
  const { body } = await signedBy(document, signer, directory.installation);
  requireCounting(directory, keyName(signer), document);
  if (body.type !== 'organisation.signin') throw new MillraceError('E_INPUT', 'not the sign-in of an organisation');
  if (body.organisation !== organisation) throw new MillraceError('E_FORBIDDEN', 'the sign-in of another organisation');
  if (by !== undefined && !by.roles.includes('owner-admin'))
    throw new MillraceError('E_FORBIDDEN', 'only an owner-admin sets the organisation’s sign-in');
  if (by !== undefined && body.issued > by.until + CLOCK_SKEW_MS)
    throw new MillraceError('E_EXPIRED', 'the key of who set the sign-in had expired');
  return body;
}

/**
 * Verifies a key's enrolment by a sign-in that is verified already. The ID token counts from its own date, so an old one
 * does not prolong a membership.
 * @throws {MillraceError} E_SIGN_IN: nonce, audience, e-mail, groups or provider's key are not those of the
 *   organisation; E_SIGNATURE, E_AUTH, E_INPUT, E_EXPIRED, E_REVOKED
 */
export async function verifySignIn(document: Uint8Array, signIn: SignInDocument, directory: Named): Promise<SignedIn> {
  const { installation } = directory;
  const claimed = readTransaction(document);
  if (claimed.type !== 'key.signin') throw new MillraceError('E_INPUT', 'not an enrolment by a sign-in');
  const publicKey = copyBytes(claimed.publicKey);
  await signedBy(document, publicKey, installation);
  const { organisation } = signIn;
  const name = toHex(signIn.id);
  if (claimed.organisation !== organisation || claimed.signIn !== name)
    throw refused('it belongs to another sign-in of the organisation, or to another organisation');
  requireCounting(directory, name, document);
  const claims = await verifyIdToken(claimed.idToken, claimed.providerKey, signIn);
  if (claims.nonce !== signInNonce(installation, organisation, publicKey, claimed.random))
    throw refused('the ID token was issued for another key');
  if (claimed.issued > claims.exp * 1_000 + CLOCK_SKEW_MS)
    throw new MillraceError('E_EXPIRED', 'the ID token had expired when the key was enrolled');
  const person = personOf(claims, signIn);
  requireCounting(directory, person.person, document);
  const [sealingKey, device] = [copyBytes(claimed.sealingKey), claimed.device];
  return { ...person, publicKey, sealingKey, device };
}

/**
 * Verifies an ID token of somebody who signs in without a key.
 * @param keys pinned keys of the provider, one of which has signed it
 * @param nonce what the verifier gave to the provider for this sign-in
 * @returns the person and the key that signed
 * @throws {MillraceError} E_SIGN_IN, E_SIGNATURE
 */
export async function verifyKeylessSignIn(
  idToken: string,
  keys: readonly ProviderKey[],
  { signIn, nonce }: { readonly signIn: SignInDocument; readonly nonce: string },
): Promise<SignedInPerson & { readonly claims: IdTokenClaims; readonly key: ProviderKey }> {
  const { claims, key } = await verifyByOneOf(idToken, keys, signIn);
  if (claims.nonce !== nonce) throw refused('the ID token was issued for another sign-in');
  return { ...personOf(claims, signIn), claims, key };
}

function personOf(claims: IdTokenClaims, signIn: SignInDocument): SignedInPerson {
  const email = displayName.safeParse(claims.email);
  if (!email.success) throw refused('the e-mail address is longer than 64 characters, or not printable');
  return {
    name: email.data,
    until: Math.min(claims.iat * 1_000 + signIn.keyMs, signIn.until),
    person: signInPerson(signIn.organisation, signIn.issuer, claims.sub),
    roles: rolesOf(claims, signIn),
  };
}

/**
 * As `verifyIdToken`, for a token that one of several keys has signed.
 * @throws {MillraceError} E_SIGN_IN, E_SIGNATURE
 */
export async function verifyByOneOf(
  idToken: string,
  keys: readonly ProviderKey[],
  terms: Pick<SignInDocument, 'keys' | 'issuer' | 'clientId' | 'domains'>,
): Promise<{ readonly claims: IdTokenClaims; readonly key: ProviderKey }> {
  let last: unknown = new MillraceError('E_SIGN_IN', 'the organisation names no key of the provider');
  for (const key of keys) {
    try {
      return { claims: await verifyIdToken(idToken, key, terms), key };
    } catch (error) {
      last = error;
      // Another key may have signed it; what the token says does not depend on the key.
      if (!(error instanceof MillraceError && error.code === 'E_SIGNATURE')) throw error;
    }
  }
  throw last;
}

/**
 * Verifies the ID token's signature by a pinned key, and everything that it says but the nonce and the time.
 * @throws {MillraceError} E_SIGN_IN, E_SIGNATURE
 */
export async function verifyIdToken(
  idToken: string,
  key: ProviderKey,
  { keys, issuer, clientId, domains }: Pick<SignInDocument, 'keys' | 'issuer' | 'clientId' | 'domains'>,
): Promise<IdTokenClaims> {
  const thumbprint = await providerKeyThumbprint(key);
  if (!keys.some((pinned) => equalBytes(pinned, thumbprint)))
    throw refused('the organisation does not name the provider’s key: an owner-admin refreshes its keys');
  let payload: Uint8Array;
  try {
    const allowed = algorithms[key.kty];
    const alg = z.object({ alg: z.enum(allowed) }).parse(headerOf(idToken)).alg;
    ({ payload } = await compactVerify(idToken, await importJWK(key, alg), { algorithms: allowed }));
  } catch (cause) {
    throw new MillraceError('E_SIGNATURE', 'the ID token is not signed by the provider’s key', { cause });
  }
  const parsed = claimsSchema.safeParse(jsonOf(payload));
  if (!parsed.success) {
    const [field] = parsed.error.issues[0]?.path ?? [];
    throw refused(
      field === 'email_verified' ? 'the provider has not verified the e-mail address' : `claim ${String(field)}`,
    );
  }
  const claims = parsed.data;
  const audience = [claims.aud].flat();
  if (claims.iss !== issuer) throw refused('another issuer');
  if (!audience.includes(clientId) || (audience.length > 1 && claims.azp !== clientId))
    throw refused('the ID token is for another application');
  if (claims.azp !== undefined && claims.azp !== clientId) throw refused('the ID token is for another application');
  const domain = /^[^@\s]+@([^@\s]+)$/.exec(claims.email)?.[1]?.toLowerCase();
  if (domain === undefined || !domains.includes(domain)) throw refused('e-mail addresses of this domain');
  return claims;
}

function rolesOf(claims: IdTokenClaims, { claim, mapping }: SignInDocument): readonly SignInRole[] {
  const groups = z.union([z.array(z.string()), z.string().transform((group) => [group])]).safeParse(claims[claim]);
  const named = groups.success ? groups.data : [];
  const roles = new Set(mapping.filter(({ group }) => named.includes(group)).flatMap((entry) => entry.roles));
  if (roles.size === 0) throw refused('the person is in no group to which the organisation gives roles');
  return [...roles];
}

function headerOf(idToken: string): unknown {
  return jsonOf(base64url.decode(idToken.split('.')[0] ?? ''));
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

function signedBy(document: Uint8Array, key: Bytes, installation: string) {
  // The document counts until it is revoked or its `until` has passed. Its expiry limits only its delivery.
  return verifyTransaction(document, installation, onlyKey(key), 'any time');
}
