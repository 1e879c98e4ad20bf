import { controlRoutes, createApiClient } from '@millrace/api';
import { type Bytes, copyBytes, fromBase64, MillraceError, toBase64, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import {
  type Credential,
  credentialDocuments,
  type Directory,
  encodeCredential,
  type HttpClient,
  ignoringRevocations,
  isSignIn,
  type ProviderKey,
  providerKeyThumbprint,
  requireUnrevoked,
  type SignInDocument,
  signInNonce,
  verifyByOneOf,
  verifyCredential,
  verifyOrganisationSignIn,
} from '@millrace/protocol';
import type { Enrolling, NewDevice } from './enrolment.ts';
import { revoke } from './people.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

// Company sign-in: an owner-admin names the provider and its keys; people enrol keys by signing in there.

/** How an organisation's people sign in, verified. */
export interface SignIn {
  /** Its id, by which revocations name it. */
  readonly signIn: string;
  readonly terms: SignInDocument;
  readonly document: Bytes;
  /** Credential of whoever signed it, or the registration of the organisation. */
  readonly signer: Bytes;
}

export type SignInTerms = Pick<
  SignInDocument,
  'organisation' | 'issuer' | 'clientId' | 'claim' | 'mapping' | 'domains' | 'keyMs' | 'until'
>;

/** Signs how the organisation's people sign in. @param keys the provider's present keys @returns its id */
export async function setSignIn(session: Session, terms: SignInTerms, keys: readonly ProviderKey[]): Promise<string> {
  const thumbprints = await Promise.all(keys.map(providerKeyThumbprint));
  const { id, bytes } = await signNew(session, { type: 'organisation.signin', ...terms, keys: thumbprints });
  await session.api.submit(bytes);
  return id;
}

/**
 * The organisation's sign-in, verified by the administrator's key.
 * @throws {MillraceError} E_NOT_FOUND if it has none; E_REVOKED, and as `verifyCredential`
 */
export async function readSignIn(control: HttpClient, directory: Directory, organisation: string): Promise<SignIn> {
  const found = await createApiClient(controlRoutes, { transport: control }).enrolments.signIn({ id: organisation });
  const [document, signer] = [fromBase64(found.document), fromBase64(found.signer)];
  const terms = await verifyOrganisationSignIn(document, signer, directory);
  if (terms.organisation !== organisation)
    throw new MillraceError('E_AUTH', 'control answers with the sign-in of another organisation');
  const signIn = toHex(terms.id);
  requireUnrevoked(directory, signIn);
  return { signIn, terms, document, signer };
}

/**
 * Revokes an organisation's sign-in. A refreshed sign-in has replaced others, and keys that were enrolled by those still
 * count: they are revoked as well.
 * @returns the sequence number of the list
 * @throws {MillraceError} as `revoke` and `verifyOrganisationSignIn`
 */
export async function revokeSignIn(session: Session, current: SignIn): Promise<number> {
  const { organisation } = current.terms;
  const directory = ignoringRevocations(session.directory);
  const signIns = new Map([[current.signIn, revocable(current)]]);
  for (const { credential } of await session.api.organisationKeys(organisation)) {
    const [enrolment, document, ...rest] = credentialDocuments(fromBase64(credential));
    if (enrolment === undefined || document === undefined || !isSignIn(enrolment)) continue;
    const [only, ...others] = rest;
    const signer = only !== undefined && others.length === 0 ? copyBytes(only) : encodeCredential(rest);
    const terms = await verifyOrganisationSignIn(document, signer, directory);
    if (terms.organisation !== organisation)
      throw new MillraceError('E_AUTH', 'control shows a key of another organisation');
    const signIn = toHex(terms.id);
    signIns.set(signIn, revocable({ signIn, document, signer }));
  }
  const { sequence } = await revoke(session, { keys: [], invitations: [...signIns.values()], keeps: () => false });
  return sequence;
}

function revocable({ signIn, document, signer }: { signIn: string; document: Uint8Array; signer: Uint8Array }) {
  return { invitation: signIn, name: 'sign-in', document: toBase64(document), signer: toBase64(signer) };
}

/** Random bytes, and the nonce with which the ID token commits to the caller's key. */
export function signInCommitment({ directory, signer, random }: Enrolling, organisation: string) {
  const bytes = random(32);
  return { random: bytes, nonce: signInNonce(directory.installation, organisation, signer.publicKey, bytes) };
}

/**
 * Enrols the caller's key, or renews it, by an ID token with this nonce.
 * @param keys the provider's keys, one of which has signed the ID token
 * @throws {MillraceError} E_SIGN_IN, E_SIGNATURE, E_EXPIRED, E_CONFLICT, E_REVOKED
 */
export async function enrolBySignIn(
  enrolling: Enrolling,
  { signIn, terms }: SignIn,
  token: {
    readonly idToken: string;
    readonly keys: readonly ProviderKey[];
    readonly random: Bytes;
    readonly device: NewDevice;
  },
): Promise<Credential> {
  const { control, directory, signer } = enrolling;
  const { idToken, random } = token;
  const { name: device, sealingKey } = token.device;
  const { key: providerKey } = await verifyByOneOf(idToken, token.keys, terms);
  const { organisation } = terms;
  const body = {
    type: 'key.signin' as const,
    organisation,
    signIn,
    publicKey: signer.publicKey as Bytes,
    sealingKey,
    device,
  };
  const { bytes } = await signNew(enrolling, { ...body, idToken, providerKey, random });
  const { enrolments } = createApiClient(controlRoutes, { transport: control });
  const answer = await enrolments.enrol({ body: { enrolment: toBase64(bytes) } });
  const credential = await verifyCredential(fromBase64(answer.credential), directory);
  if (keyName(credential.publicKey) !== keyName(signer.publicKey))
    throw new MillraceError('E_AUTH', 'control answers with the credential of another key');
  return credential;
}
