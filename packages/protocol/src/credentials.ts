import {
  type Bytes,
  concatBytes,
  copyBytes,
  decodeCbor,
  encodeCbor,
  fromHex,
  MillraceError,
  parse,
  toHex,
  utf8,
} from '@millrace/base';
import { keyName, parseSign1, type Signer, verifySignature } from '@millrace/identity';
import { z } from 'zod';
import { CLOCK_SKEW_MS, type Directory } from './directory.ts';
import { onlyKey, readTransaction, type Transaction, type TransactionOf, verifyTransaction } from './documents.ts';
import { requireCounting } from './revoked.ts';
import type { OrganisationKind, PersonRole } from './shapes.ts';
import {
  claimedEmail,
  isSignIn,
  type SignInDocument,
  signInNames,
  verifySignIn,
  verifySignInDocument,
} from './sign-in-credential.ts';

// Credentials prove who owns a key, and in which roles, to the administrator's key. Every party that relies on a role
// verifies the credential here.

type Named = Pick<Directory, 'installation' | 'adminKey' | 'revocations'>;

/** Owner of a key, and the owner's roles. */
export interface Credential {
  readonly publicKey: Bytes;
  readonly name: string;
  /** Documents that this key signs count until this time, ms since 1970. */
  readonly until: number;
  /** Point to which secrets are sealed for this key, as the key itself signed it. */
  readonly sealingKey?: Bytes | undefined;
  /** Absent when the administrator registered the key itself. Such a key belongs to no organisation. */
  readonly member?: Membership;
}

export interface Membership {
  readonly organisation: string;
  readonly organisationName: string;
  readonly kinds: readonly OrganisationKind[];
  readonly person: string;
  readonly roles: readonly PersonRole[];
  readonly device: string;
}

/** Maximum number of invitations between the administrator and a key. */
const MAX_INVITATIONS = 8;
const SIGN1_TAG = 0xd2;

const chainSchema = z
  .array(z.instanceof(Uint8Array))
  .min(3)
  .max(2 * MAX_INVITATIONS + 1)
  .refine((chain) => chain.length % 2 === 1, {
    error: 'expected pairs of enrolment and invitation, and an organisation',
  });

/**
 * Encodes a credential for transfer. Order of the documents: the key's enrolment, its invitation, the enrolment of the
 * inviter, and so on; last the registration of the organisation. The credential of a key that the administrator
 * registered itself is its `user.register` alone.
 */
export function encodeCredential(documents: readonly Uint8Array[]): Bytes {
  return encodeCbor(documents as never);
}

/** The documents of a credential. @throws {MillraceError} E_INPUT */
export function credentialDocuments(credential: Uint8Array): readonly Uint8Array[] {
  if (credential[0] === SIGN1_TAG) return [credential];
  return parse(chainSchema, decodeCbor(credential, 'credential'), 'credential');
}

/** The key and name that a credential claims. Verifies nothing. @throws {MillraceError} E_SIGNATURE, E_INPUT */
export function readCredential(credential: Uint8Array): { readonly publicKey: Bytes; readonly name: string } {
  const bodies = credentialDocuments(credential).map(readTransaction);
  const [own] = bodies;
  if (own?.type === 'user.register') return { publicKey: copyBytes(own.publicKey), name: own.name };
  const member = bodies.find((body) => body.type === 'member.invite' || body.type === 'key.signin');
  if ((own?.type !== 'key.enrol' && own?.type !== 'key.signin') || member === undefined)
    throw new MillraceError('E_INPUT', 'not a credential');
  const name = member.type === 'key.signin' ? claimedEmail(member.idToken) : member.name;
  return { publicKey: copyBytes(own.publicKey), name };
}

/** Message that an invitation's key signs to enrol a key. */
function proofOf(installation: string, publicKey: Uint8Array): Bytes {
  return concatBytes(utf8('millrace/v1/enrolment/'), fromHex(installation), publicKey);
}

/** The proof in `key.enrol` that the signer holds the invitation's secret. */
export function proveInvitation(invitation: Signer, installation: string, publicKey: Uint8Array): Promise<Bytes> {
  return invitation.sign(proofOf(installation, publicKey));
}

/**
 * Verifies every signature from the key to the administrator, and that each signer was authorised to sign its document.
 * A document in the chain that was signed by a revoked key counts only if the revocation keeps it. Does not check
 * whether the key itself is revoked: `requireCounting` does so for each document that it signs.
 * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_FORBIDDEN, E_REVOKED
 */
export async function verifyCredential(credential: Uint8Array, directory: Named): Promise<Credential> {
  const documents = credentialDocuments(credential);
  const [first] = documents;
  if (documents.length === 1 && first !== undefined) {
    const { publicKey, name } = await signedByAdministrator(first, directory, 'user.register');
    return { publicKey: copyBytes(publicKey), name, until: Number.MAX_SAFE_INTEGER };
  }
  const organisation = await signedByAdministrator(documents.at(-1) as Uint8Array, directory, 'organisation.register');
  let holder: Holder | undefined;
  for (let i = documents.length - 3; i >= 0; i -= 2) {
    const [enrolment, invitation] = [documents[i], documents[i + 1]] as [Uint8Array, Uint8Array];
    holder = isSignIn(enrolment)
      ? await verifySignIn(
          enrolment,
          await verifySignInDocument(invitation, holder, organisation.organisation, directory),
          directory,
        )
      : await enrolled(enrolment, await invited(invitation, holder, organisation, directory), directory);
  }
  if (holder === undefined) throw new MillraceError('E_INPUT', 'credential: nobody is enrolled');
  const { publicKey, name, until, sealingKey, ...member } = holder;
  const { name: organisationName, kinds, organisation: id } = organisation;
  return {
    publicKey,
    name,
    until,
    ...(sealingKey && { sealingKey }),
    member: { organisation: id, organisationName, kinds, ...member },
  };
}

interface Holder {
  readonly publicKey: Bytes;
  readonly sealingKey?: Bytes | undefined;
  readonly name: string;
  readonly until: number;
  readonly person: string;
  readonly roles: readonly PersonRole[];
  readonly device: string;
}

export interface VerifiedInvitation extends Invited {
  readonly organisation: string;
  readonly organisationName: string;
}

type Invited = Pick<Holder, 'name' | 'until' | 'person' | 'roles'> & {
  readonly key: Bytes;
  readonly expires: number;
};

/**
 * Verifies an invitation alone, for the invited person. `signer` is the credential of the inviter, or the registration
 * of the organisation if the administrator invites.
 * @throws {MillraceError} as `verifyCredential`
 */
export async function verifyInvitation(
  invitation: Uint8Array,
  signer: Uint8Array,
  directory: Named,
): Promise<VerifiedInvitation> {
  if (signer[0] === SIGN1_TAG) {
    const { organisation, name } = await signedByAdministrator(signer, directory, 'organisation.register');
    const made = await invited(invitation, undefined, { organisation }, directory);
    return { ...made, organisation, organisationName: name };
  }
  const { member, ...own } = await verifyCredential(signer, directory);
  if (member === undefined) throw new MillraceError('E_FORBIDDEN', 'a key without an organisation invites nobody');
  const { organisation, organisationName } = member;
  const made = await invited(invitation, { ...own, ...member }, { organisation }, directory);
  return { ...made, organisation, organisationName };
}

/**
 * Verifies the sign-in of an organisation, alone. `signer` as in `verifyInvitation`.
 * @throws {MillraceError} as `verifyCredential`
 */
export async function verifyOrganisationSignIn(
  signIn: Uint8Array,
  signer: Uint8Array,
  directory: Named,
): Promise<SignInDocument> {
  if (signer[0] === SIGN1_TAG) {
    const { organisation } = await signedByAdministrator(signer, directory, 'organisation.register');
    return verifySignInDocument(signIn, undefined, organisation, directory);
  }
  const { member, ...own } = await verifyCredential(signer, directory);
  if (member === undefined)
    throw new MillraceError('E_FORBIDDEN', 'a key without an organisation sets no organisation’s sign-in');
  return verifySignInDocument(signIn, { ...own, ...member }, member.organisation, directory);
}

/** @param by credential of the signer; undefined for the administrator */
async function invited(
  document: Uint8Array,
  by: Holder | undefined,
  { organisation }: { readonly organisation: string },
  directory: Named,
): Promise<Invited> {
  const signer = by?.publicKey ?? fromHex(directory.adminKey);
  const { body } = await verifyOf(document, signer, directory.installation);
  requireCounting(directory, keyName(signer), document);
  const key = 'invitation' in body && body.invitation instanceof Uint8Array ? copyBytes(body.invitation) : undefined;
  if (key !== undefined && body.type === 'member.invite') {
    if (body.organisation !== organisation)
      throw new MillraceError('E_FORBIDDEN', 'an invitation to another organisation');
    if (by !== undefined && !by.roles.includes('owner-admin'))
      throw new MillraceError('E_FORBIDDEN', 'only an owner-admin invites people to the organisation');
    if (by !== undefined && body.issued > by.until + CLOCK_SKEW_MS)
      throw new MillraceError('E_EXPIRED', 'the key of who invites had expired');
    const { name, person, roles, until, expires } = body;
    return { key, name, person, roles, until, expires };
  }
  if (key !== undefined && body.type === 'device.invite') {
    if (by === undefined) throw new MillraceError('E_FORBIDDEN', 'a device is invited by a key of its person');
    const { name, person, roles } = by;
    // Another device does not prolong a membership.
    return { key, name, person, roles, until: Math.min(body.until, by.until), expires: body.expires };
  }
  throw new MillraceError('E_INPUT', 'not an invitation');
}

async function enrolled(document: Uint8Array, by: Invited, { installation, revocations }: Named): Promise<Holder> {
  const claimed = readTransaction(document);
  if (claimed.type !== 'key.enrol') throw new MillraceError('E_INPUT', 'not the enrolment of a key');
  const publicKey = copyBytes(claimed.publicKey);
  await verifyOf(document, publicKey, installation);
  if (claimed.invitation !== keyName(by.key))
    throw new MillraceError('E_FORBIDDEN', 'an enrolment by another invitation');
  if (!verifySignature('ES256K', by.key, proofOf(installation, publicKey), claimed.proof))
    throw new MillraceError('E_SIGNATURE', 'the enrolment does not prove the invitation’s secret');
  if (claimed.issued > by.expires + CLOCK_SKEW_MS)
    throw new MillraceError('E_EXPIRED', 'the invitation had expired when the key was enrolled');
  requireCounting({ revocations }, keyName(by.key), document);
  const { name, person, roles, until } = by;
  const sealingKey = claimed.sealingKey && copyBytes(claimed.sealingKey);
  return { publicKey, name, person, roles, until, device: claimed.device, ...(sealingKey && { sealingKey }) };
}

/**
 * Requires that the key may act in one of these roles: by membership, or because the administrator registered it.
 * @throws {MillraceError} E_FORBIDDEN
 */
export function requireRole({ member, name }: Credential, ...roles: readonly PersonRole[]): void {
  if (member === undefined || roles.some((role) => member.roles.includes(role))) return;
  const role = roles.join(' or ');
  throw new MillraceError('E_FORBIDDEN', `${name} is no ${role} of ${member.organisationName}`, { data: { role } });
}

/**
 * Checks a credential that this process has verified before: whether a document in its chain was revoked since.
 * @throws {MillraceError} E_REVOKED
 */
export function requireChainCounting(credential: Uint8Array, directory: Pick<Directory, 'revocations'>): void {
  for (const document of credentialDocuments(credential)) {
    const body = readTransaction(document);
    // An enrolment counts by its invitation or sign-in, not by the key that it enrols.
    if (body.type === 'key.signin') for (const name of signInNames(body)) requireCounting(directory, name, document);
    else
      requireCounting(
        directory,
        body.type === 'key.enrol' ? body.invitation : toHex(parseSign1(document).keyId),
        document,
      );
  }
}

async function verifyOf(document: Uint8Array, key: Bytes, installation: string) {
  // The document counts until it is revoked or its `until` has passed. Its expiry limits only its delivery.
  return verifyTransaction(document, installation, onlyKey(key), 'any time');
}

async function signedByAdministrator<T extends Transaction['type']>(
  document: Uint8Array,
  { adminKey, installation }: Named,
  type: T,
): Promise<TransactionOf<T>> {
  const { body } = await verifyOf(document, fromHex(adminKey), installation);
  if (body.type !== type) throw new MillraceError('E_INPUT', `expected ${type}, not ${body.type}`);
  return body as TransactionOf<T>;
}
