import { type Bytes, copyBytes, fromHex, MillraceError, toHex, toMillraceError } from '@millrace/base';
import { expiryOf, keyName } from '@millrace/identity';
import {
  type Attested,
  credentialDocuments,
  type Directory,
  encodeCredential,
  onlyKey,
  readTransaction,
  requireChainCounting,
  requireCounting,
  requireUnrevoked,
  type TransactionOf,
  verifyCredential,
  verifyInvitation,
  verifyTransaction,
} from '@millrace/protocol';
import { authorize, type UserActor, userActor } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { provedUser } from './proved-users.ts';
import { type InvitationRecord, seenRecord, signerOf } from './records.ts';
import { replay } from './replay.ts';
import type { Submitted } from './submitted.ts';

// Organisations, their people and the people's keys. Control keeps the signed documents and accepts each invitation
// once. The documents prove to everybody whose key it is, without trust in control.

/**
 * Maximum lifetime of a user's TLS certificate, ms. A user whose revocation does not reach control is cut off when the
 * certificate expires.
 */
const CERTIFICATE_MS = 30 * 86_400_000;

/**
 * The user to whom a key belongs, by its credential.
 * @throws {MillraceError} as `provedUser`
 */
export async function signingActor(
  { directory, records }: Pick<ControlContext, 'directory' | 'records'>,
  name: string,
): Promise<UserActor> {
  const member = (await provedUser({ directory, records }, name))?.member;
  return { ...userActor(directory, name), member };
}

/**
 * Checks for a caller that only reads what transactions check of their signer: the invitation or sign-in by which the
 * key was enrolled, and who signed it, must not be revoked.
 * @throws {MillraceError} E_REVOKED; as `provedUser`
 */
export async function requireEnrolmentCounting(
  context: Pick<ControlContext, 'directory' | 'records'>,
  name: string,
): Promise<void> {
  const user = await provedUser(context, name);
  if (user !== undefined) requireChainCounting(user.document, context.directory);
}

/** @throws {MillraceError} E_EXPIRED when the key has expired; as `provedUser` */
export async function requireInForce(
  context: Pick<ControlContext, 'directory' | 'records' | 'clock'>,
  name: string,
): Promise<void> {
  const until = (await provedUser(context, name))?.member?.until;
  if (until === undefined || context.clock.now() <= until) return;
  throw new MillraceError(
    'E_EXPIRED',
    'the key has expired: sign in again with `millrace login --oidc`, or ask an owner-admin for an invitation',
    {
      data: { key: name, until },
    },
  );
}

/** The user to whom a key belongs, for what happens without a request; undefined if the key does not count. */
export async function countingActor(
  context: Pick<ControlContext, 'directory' | 'records' | 'clock'>,
  name: string,
): Promise<UserActor | undefined> {
  try {
    requireUnrevoked(context.directory, name);
    await requireEnrolmentCounting(context, name);
    await requireInForce(context, name);
  } catch (error) {
    if (['E_AUTH', 'E_REVOKED', 'E_EXPIRED'].includes(toMillraceError(error).code)) return undefined;
    throw error;
  }
  return signingActor(context, name);
}

/**
 * Checks that a recorded document still counts: neither its signer's key nor a key in the signer's credential was
 * revoked since, unless the revocation keeps the document.
 * @throws {MillraceError} E_REVOKED
 */
export function requireSignerCounting(directory: Directory, { transaction, credential }: Attested): void {
  requireCounting(directory, signerOf(transaction), transaction);
  requireChainCounting(credential, directory);
}

export async function registerOrganisation(
  { records, clock }: ControlContext,
  { body, actor, bytes }: Submitted<TransactionOf<'organisation.register'>>,
) {
  authorize(actor, 'organisation.register');
  const { organisation, name, kinds } = body;
  const record = { organisation, name, kinds, created: clock.now(), document: bytes };
  if (!(await records.organisations.create(organisation, record)))
    throw new MillraceError('E_CONFLICT', `the organisation ${organisation} exists already`);
  return { organisation };
}

/** Records a signed invitation. Control never gets its secret, only its public key. */
export async function invite(
  context: ControlContext,
  { body, actor, credential: own, bytes }: Submitted<TransactionOf<'member.invite' | 'device.invite'>>,
) {
  const { directory, records, clock } = context;
  const invitedBy = actor.name;
  const organisation = body.type === 'member.invite' ? body.organisation : actor.member?.organisation;
  authorize(actor, body.type, { organisation });
  const registered = await records.organisations.require(organisation ?? '');
  const credential = actor.member === undefined ? registered.document : own;
  const { key, name, person, roles, expires } = await verifyInvitation(bytes, credential, directory);
  const invitation = keyName(key);
  const record: InvitationRecord = {
    ...{ invitation, organisation: registered.organisation, person, name, roles: [...roles], expires, invitedBy },
    ...{ created: clock.now(), document: bytes, signer: credential },
  };
  if (!(await records.invitations.create(invitation, record)))
    throw new MillraceError('E_CONFLICT', 'there is an invitation with this key already');
  return { invitation };
}

/**
 * Enrols a key with an invitation, which works once. The same enrolment again gets the same answer, so a client may
 * retry after a lost answer. Another invitation to the same organisation renews an enrolled key.
 * @throws {MillraceError} E_NOT_FOUND, E_INVITATION, E_CONFLICT (the key belongs to somebody else), and the codes of
 * `verifyCredential`
 */
export async function enrolKey(context: ControlContext, bytes: Bytes): Promise<{ key: string; credential: Bytes }> {
  const { directory, records, clock } = context;
  const claimed = readTransaction(bytes);
  if (claimed.type !== 'key.enrol') throw new MillraceError('E_INPUT', 'not the enrolment of a key');
  const own = copyBytes(claimed.publicKey);
  await verifyTransaction(bytes, directory.installation, onlyKey(own), clock.now());
  const invitation = await records.invitations.require(claimed.invitation);
  const chain = invitation.signer;
  const credential = encodeCredential([bytes, invitation.document, ...credentialDocuments(chain)]);
  const verified = await verifyCredential(credential, directory);
  const key = keyName(own);
  requireUnrevoked(directory, key);
  if (key === keyName(fromHex(directory.adminKey)))
    throw new MillraceError('E_CONFLICT', 'the administrator’s key belongs to no organisation');
  const known = await records.users.get(key);
  if (known !== undefined && known.member?.organisation !== invitation.organisation)
    throw new MillraceError('E_CONFLICT', 'the key is registered already, outside of this organisation');
  if (invitation.usedBy === undefined && clock.now() > invitation.expires)
    throw new MillraceError('E_INVITATION', 'the invitation has expired');
  const used = await records.invitations.update(invitation.invitation, (current) =>
    current.usedBy === undefined ? { ...current, usedBy: key } : current,
  );
  if (used.usedBy !== key) throw new MillraceError('E_INVITATION', 'the invitation was used already');
  if (known?.member?.invitation === invitation.invitation) return { key, credential: copyBytes(known.document) };
  const { name, until, member } = verified;
  if (member === undefined) throw new MillraceError('E_INTERNAL', 'an enrolled key without an organisation');
  const { organisation, person, roles, device } = member;
  await records.users.put(key, {
    user: key,
    name,
    publicKey: own,
    document: credential,
    member: {
      ...{ organisation, person, roles: [...roles], device, until, created: clock.now() },
      ...{ invitation: invitation.invitation, invitedBy: invitation.invitedBy },
    },
  });
  return { key, credential };
}

/**
 * Issues a TLS certificate for the user's key, on the user's signature. The caller needs no valid certificate.
 * @throws {MillraceError} E_AUTH, E_SIGNATURE, E_REPLAY, E_REVOKED, E_EXPIRED; E_STATE if the installation issues no
 * certificates to users
 */
export async function issueCertificate(context: ControlContext, bytes: Bytes): Promise<string> {
  const { records, clock, userAuthority } = context;
  if (userAuthority === undefined)
    throw new MillraceError('E_STATE', 'this installation has no certificate authority for users');
  if (expiryOf(userAuthority.identity.certificate) <= clock.now())
    throw new MillraceError(
      'E_CONFIG',
      'the certificate authority of users has expired: the administrator runs `millrace key rotate users`',
    );
  const { body, key: name } = await verifyRequest(context, bytes, 'certificate.request');
  const until = (await records.users.require(name)).member?.until ?? Number.MAX_SAFE_INTEGER;
  const expires = Math.min(clock.now() + CERTIFICATE_MS, until);
  return userAuthority.certify({ role: 'user', name }, body.tlsKey, expires);
}

/**
 * Verifies a request that a user's key has signed, and that counts once.
 * @returns the request and the name of the key
 * @throws {MillraceError} E_INPUT (another document), E_AUTH, E_SIGNATURE, E_REPLAY, E_REVOKED, E_EXPIRED
 */
export async function verifyRequest<T extends 'certificate.request' | 'session.open'>(
  context: ControlContext,
  bytes: Bytes,
  type: T,
): Promise<{ readonly body: TransactionOf<T>; readonly key: string }> {
  const { body, key } = await verifyRepeatable(context, bytes, type);
  const { id, expires } = body as { readonly id: Bytes; readonly expires: number };
  if (!(await context.records.seen.create(toHex(id), seenRecord({ type, expires })))) throw replay(toHex(id));
  return { body, key };
}

/** As `verifyRequest`, for a request that counts until it expires. */
export async function verifyRepeatable<
  T extends 'certificate.request' | 'session.open' | 'upload.open' | 'camera.watch',
>(context: ControlContext, bytes: Bytes, type: T): Promise<{ readonly body: TransactionOf<T>; readonly key: string }> {
  const { directory, clock } = context;
  const publicKeyOf = async (id: Bytes) => {
    const user = await provedUser(context, toHex(id));
    if (user !== undefined) return copyBytes(user.publicKey);
    // The administrator is not registered. It gets a session, but its certificate comes from the installation's authority.
    const adminKey = fromHex(directory.adminKey);
    return type === 'session.open' && keyName(adminKey) === toHex(id) ? adminKey : undefined;
  };
  const { body, signer } = await verifyTransaction(bytes, directory.installation, publicKeyOf, clock.now());
  if (body.type !== type) throw new MillraceError('E_INPUT', `not a ${type}`);
  const key = keyName(signer);
  requireUnrevoked(directory, key);
  await requireInForce(context, key);
  return { body: body as TransactionOf<T>, key };
}
