import type { InvitationView, KeyView, OrganisationView, SignedDocumentView } from '@millrace/api';
import { type Bytes, fromBase64, fromHex, MillraceError, toBase64, toHex } from '@millrace/base';
import { generateUserKey, keyName, parseSign1 } from '@millrace/identity';
import {
  type Credential,
  credentialDocuments,
  type Directory,
  documentName,
  encodePublished,
  type OrganisationKind,
  type Party,
  type PersonRole,
  partyOf,
  type RevocationEntry,
  Revocations,
  requireRole,
  signRevocationList,
  verifyCredential,
  verifyOrganisationRegistration,
  withList,
} from '@millrace/protocol';
import { findUser } from './contacts.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

const DAY_MS = 86_400_000;

/** Creates an organisation; administrator only. @returns its identifier */
export async function createOrganisation(
  session: Session,
  { name, kinds }: { readonly name: string; readonly kinds: readonly OrganisationKind[] },
): Promise<string> {
  const organisation = toHex(session.random(16));
  const { bytes } = await signNew(session, { type: 'organisation.register', organisation, name, kinds: [...kinds] });
  await session.api.submit(bytes);
  return organisation;
}

export interface NewInvitation {
  /** Name of the invitation: its key name. */
  readonly invitation: string;
  /** 32 bytes. The caller shows it once and wipes it. */
  readonly secret: Bytes;
  readonly expires: number;
}

export interface InviteOptions {
  /** Validity of the invitation, days. */
  readonly days: number;
  /** Validity of a key that is enrolled with it, days. */
  readonly keyDays: number;
}

/** Invites a person to an organisation. The secret is created here and is not sent to any node. */
export function inviteMember(
  session: Session,
  member: {
    readonly organisation: string;
    readonly name: string;
    readonly roles: readonly PersonRole[];
    /** An existing person whose key or roles are renewed. Default: a new person. */
    readonly person?: string | undefined;
  },
  options: InviteOptions,
): Promise<NewInvitation> {
  const { organisation, name, roles, person = toHex(session.random(16)) } = member;
  return invite(session, { type: 'member.invite', organisation, person, name, roles: [...roles] }, options);
}

/** Invites another device of the same person. */
export function inviteDevice(session: Session, options: InviteOptions): Promise<NewInvitation> {
  return invite(session, { type: 'device.invite' }, options);
}

type Invites =
  | { readonly type: 'device.invite' }
  | {
      readonly type: 'member.invite';
      readonly organisation: string;
      readonly person: string;
      readonly name: string;
      readonly roles: PersonRole[];
    };

async function invite(session: Session, body: Invites, { days, keyDays }: InviteOptions): Promise<NewInvitation> {
  const key = generateUserKey(session.random);
  const now = session.clock.now();
  const expires = now + Math.ceil(days * DAY_MS);
  const until = now + Math.ceil(keyDays * DAY_MS);
  try {
    const document = { ...body, invitation: key.publicKey, until };
    const { bytes } = await signNew(session, document, undefined, expires - now);
    await session.api.submit(bytes);
    return { invitation: keyName(key.publicKey), secret: key.exportSecret(), expires };
  } finally {
    key.close();
  }
}

/** @returns the holder of the key, from control's view and verified against the administrator's key */
export async function verifyKeyView(
  { directory }: { readonly directory: Pick<Directory, 'installation' | 'adminKey' | 'revocations'> },
  view: KeyView,
): Promise<Credential> {
  const credential = await verifyCredential(fromBase64(view.credential), directory);
  if (keyName(credential.publicKey) !== view.key)
    throw new MillraceError('E_AUTH', `control shows the credential of another key than ${view.key}`);
  return credential;
}

/** The session's own credential, verified. @throws {MillraceError} E_NOT_FOUND for the administrator */
export async function ownCredential(session: Pick<Session, 'api' | 'directory' | 'signer'>): Promise<Credential> {
  return verifyKeyView(session, await session.api.key(keyName(session.signer.publicKey)));
}

/** The party for which the session's key acts: its organisation, or the key alone. */
export async function ownParty(session: Pick<Session, 'api' | 'directory' | 'signer'>): Promise<Party> {
  try {
    return partyOf(await ownCredential(session));
  } catch (error) {
    // The administrator's key has no credential.
    if (error instanceof MillraceError && error.code === 'E_NOT_FOUND') return { key: session.signer.publicKey };
    throw error;
  }
}

/**
 * The holder of a licence, from its name: an organisation by name or identifier; or a contact's name, or a key name. A
 * key of an organisation stands for the organisation.
 * @returns identifier of the organisation, or the public key of a user without one
 * @throws {MillraceError} E_NOT_FOUND, E_FORBIDDEN (not an operator), E_INPUT (several organisations have this name), and
 *   as `verifyCredential`
 */
export async function licenceHolder(session: Session, name: string): Promise<Bytes | string> {
  const { contacts, api, directory } = session;
  const known = contacts.users.find((user) => user.name === name || user.user === name);
  if (known === undefined) {
    const named = (await api.organisations()).filter((view) => organisationNames(view).includes(name));
    if (named.length > 1) throw new MillraceError('E_INPUT', `there are ${named.length} organisations ${name}`);
    // Control must not show another organisation under this name.
    if (named[0] !== undefined) return (await verifyOrganisation(named[0], directory)).organisation;
    if (!/^[0-9a-f]{32}$/.test(name)) return fromHex(findUser(contacts, name).publicKey);
  }
  const holder = await verifyKeyView(session, await api.key(known?.user ?? name));
  requireRole(holder, 'operator');
  return holder.member?.organisation ?? holder.publicKey;
}

/** Verifies an organisation that control shows. @throws {MillraceError} E_AUTH, E_SIGNATURE, E_INPUT */
export async function verifyOrganisation(
  view: OrganisationView,
  directory: Session['directory'],
): Promise<Pick<OrganisationView, 'organisation' | 'name' | 'kinds'>> {
  const { organisation, name, kinds } = await verifyOrganisationRegistration(fromBase64(view.document), directory);
  if (organisation !== view.organisation || name !== view.name)
    throw new MillraceError('E_AUTH', `control shows another organisation than ${view.name}`);
  return { organisation, name, kinds };
}

/** Keys of people, and unused invitations, to be revoked. */
export interface RevocationTargets {
  readonly keys: readonly KeyView[];
  readonly invitations: readonly Pick<InvitationView, 'invitation' | 'name' | 'document' | 'signer'>[];
  /** People who enrol keys by company sign-in, with all their keys: they cannot enrol further ones. */
  readonly persons?: readonly { readonly person: string; readonly keys: readonly KeyView[] }[];
  /** Whether a document that a key has signed stays valid. */
  keeps(document: SignedDocumentView): boolean;
}

export interface RevocationResult {
  readonly sequence: number;
  readonly revoked: readonly { readonly key: string; readonly kept: readonly SignedDocumentView[] }[];
}

/** Another owner-admin may publish a list in the meantime. */
const ATTEMPTS = 4;

/**
 * Revokes keys: signs the next list of the organisation (of the installation, for the administrator) and publishes it.
 * @throws {MillraceError} E_CONFLICT if others keep publishing; E_FORBIDDEN
 */
export async function revoke(session: Session, targets: RevocationTargets): Promise<RevocationResult> {
  const { api, clock, directory, signer } = session;
  const admin = keyName(fromHex(directory.adminKey)) === keyName(signer.publicKey);
  const own = admin ? undefined : await api.key(keyName(signer.publicKey));
  const organisation = own?.organisation;
  const at = clock.now();
  const revoked: { key: string; kept: SignedDocumentView[] }[] = [];
  const entries: RevocationEntry[] = [];
  for (const view of targets.keys) {
    const kept = (await api.keyDocuments(view.key)).filter((document) => targets.keeps(document));
    revoked.push({ key: view.key, kept });
    const proof = admin ? {} : { credential: fromBase64(view.credential) };
    entries.push({ key: view.key, name: view.name, at, kept: kept.map(({ hash }) => fromBase64(hash)), ...proof });
  }
  for (const { person, keys } of targets.persons ?? []) {
    const [first] = keys;
    if (first === undefined) continue;
    // The enrolments of keys whose documents are kept have to stay valid.
    const kept = keys
      .map(({ key, credential }) => ({ about: key, document: credentialDocuments(fromBase64(credential))[0] }))
      .map(({ about, document = new Uint8Array() }) => ({
        ...{ type: 'key.signin', about, hash: toBase64(documentName(document)) },
      }))
      .filter((document) => targets.keeps(document));
    revoked.push({ key: person, kept });
    const proof = admin ? {} : { credential: fromBase64(first.credential) };
    entries.push({ key: person, name: first.name, at, kept: kept.map(({ hash }) => fromBase64(hash)), ...proof });
  }
  for (const { invitation, name, document, signer: by } of targets.invitations) {
    revoked.push({ key: invitation, kept: [] });
    const proof = admin ? {} : { invitation: [fromBase64(document), fromBase64(by)] };
    entries.push({ key: invitation, name, at, kept: [], ...proof });
  }
  for (let attempt = 1; ; attempt++) {
    const held = await heldRevocations(session);
    const known = held.lists.get(organisation ?? '')?.list;
    const names = new Set(entries.map(({ key }) => key));
    const keptLists = admin ? listsSignedBy(held, names) : [];
    const list = {
      type: 'revocations' as const,
      id: session.random(16),
      issued: at,
      expires: at,
      ...(organisation === undefined ? {} : { organisation }),
      sequence: (known?.sequence ?? 0) + 1,
      entries: [
        ...(known?.entries ?? []).filter(({ key }) => !names.has(key)),
        ...entries.map((entry) => ({ ...entry, kept: [...entry.kept, ...keptLists] })),
      ],
    };
    const document = await signRevocationList(signer, directory.installation, list);
    const credential = own === undefined ? undefined : fromBase64(own.credential);
    try {
      await api.publishRevocations(encodePublished(document, credential));
      return { sequence: list.sequence, revoked };
    } catch (error) {
      const overtaken = error instanceof MillraceError && error.code === 'E_CONFLICT';
      if (!overtaken || attempt === ATTEMPTS) throw error;
    }
  }
}

/** Control's lists, verified. */
export async function heldRevocations({ api, directory }: Session): Promise<Revocations> {
  let held = new Revocations();
  for (const published of await api.revocations()) held = (await withList(held, published, directory)) ?? held;
  return held;
}

/** Lists signed by a revoked owner-admin stay valid. */
function listsSignedBy(held: Revocations, keys: ReadonlySet<string>): Bytes[] {
  return [...held.lists.values()]
    .filter(({ document }) => keys.has(toHex(parseSign1(document).keyId)))
    .map(({ document }) => documentName(document));
}

/** Matches an organisation by identifier (or its beginning) or name. */
export const organisationNames = ({ organisation, name }: OrganisationView): readonly string[] => [organisation, name];
