import { type Bytes, copyBytes, MillraceError, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import {
  credentialDocuments,
  encodeCredential,
  onlyKey,
  readTransaction,
  requireUnrevoked,
  type TransactionOf,
  verifyCredential,
  verifyIdToken,
  verifyOrganisationSignIn,
  verifyTransaction,
} from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import type { SignInRecord } from './records.ts';
import type { Submitted } from './submitted.ts';

// Company sign-in. Control verifies ID tokens by the keys that an owner-admin has pinned, as every other party does. It
// contacts a provider only for browsers (console/company-sign-ins.ts).

/** Tolerated difference to the provider's clock, ms. */
export const PROVIDER_SKEW_MS = 5 * 60_000;

/** Records how an organisation's people sign in. A newer document replaces the organisation's. */
export async function setSignIn(
  context: ControlContext,
  { body, actor, credential: own, bytes }: Submitted<TransactionOf<'organisation.signin'>>,
): Promise<{ signIn: string }> {
  const { directory, records, clock } = context;
  const setBy = actor.name;
  const { organisation, issued } = body;
  authorize(actor, 'organisation.setSignIn', { organisation });
  const registered = await records.organisations.require(organisation);
  const credential = actor.member === undefined ? registered.document : own;
  await verifyOrganisationSignIn(bytes, credential, directory);
  if (body.until <= clock.now()) throw new MillraceError('E_INPUT', 'the sign-in ends before it begins');
  const signIn = toHex(body.id);
  const record: SignInRecord = { organisation, signIn, issued, setBy, document: bytes, signer: credential };
  if (await records.signIns.create(organisation, record)) return { signIn };
  await records.signIns.update(organisation, (current) => {
    if (current.issued >= issued) throw new MillraceError('E_CONFLICT', 'the organisation has a newer sign-in');
    return record;
  });
  return { signIn };
}

/**
 * Enrols a key by a sign-in, or renews it. The same enrolment again gets the same answer.
 * @throws {MillraceError} E_NOT_FOUND: the organisation has no sign-in; E_CONFLICT: the sign-in was replaced, or the key
 * belongs to somebody else; E_EXPIRED, E_CLOCK, and the codes of `verifyCredential`
 */
export async function enrolBySignIn(
  context: ControlContext,
  bytes: Bytes,
): Promise<{ key: string; credential: Bytes }> {
  const { directory, records, clock } = context;
  const claimed = readTransaction(bytes);
  if (claimed.type !== 'key.signin') throw new MillraceError('E_INPUT', 'not an enrolment by a sign-in');
  const own = copyBytes(claimed.publicKey);
  const key = keyName(own);
  await verifyTransaction(bytes, directory.installation, onlyKey(own), clock.now());
  const current = await records.signIns.require(claimed.organisation);
  if (current.signIn !== claimed.signIn)
    throw new MillraceError('E_CONFLICT', 'the organisation’s sign-in was replaced meanwhile: sign in again');
  const credential = encodeCredential([bytes, current.document, ...credentialDocuments(current.signer)]);
  const { name, until, member } = await verifyCredential(credential, directory);
  if (member === undefined) throw new MillraceError('E_INTERNAL', 'an enrolled key without an organisation');
  const terms = await verifyOrganisationSignIn(current.document, current.signer, directory);
  const { iat, exp } = await verifyIdToken(claimed.idToken, claimed.providerKey, terms);
  const now = clock.now();
  if (now > exp * 1_000 + PROVIDER_SKEW_MS || now > until)
    throw new MillraceError('E_EXPIRED', 'the ID token or the organisation’s sign-in has expired: sign in again');
  if (now < iat * 1_000 - PROVIDER_SKEW_MS) throw new MillraceError('E_CLOCK', 'the ID token is dated in the future');
  requireUnrevoked(directory, key);
  const { organisation, person, roles, device } = member;
  const known = await records.users.get(key);
  if (known !== undefined && (known.member?.organisation !== organisation || known.member.person !== person))
    throw new MillraceError('E_CONFLICT', 'the key is registered already, for somebody else');
  const created = known?.member?.created ?? now;
  await records.users.put(key, {
    ...{ user: key, name, publicKey: own, document: credential },
    member: {
      ...{ organisation, person, roles: [...roles], device, until, created },
      ...{ invitation: current.signIn, invitedBy: current.setBy },
    },
  });
  return { key, credential };
}
