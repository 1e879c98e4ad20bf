import {
  type Bytes,
  copyBytes,
  decodeCbor,
  encodeCbor,
  equalBytes,
  fromHex,
  MillraceError,
  parse,
  toHex,
} from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { keyName } from '@millrace/identity';
import { z } from 'zod';
import { verifyCredential, verifyInvitation, verifyOrganisationSignIn } from './credentials.ts';
import type { Directory, Revoked, RevokedKeys } from './directory.ts';
import {
  onlyKey,
  type RevocationEntry,
  type RevocationList,
  readTransaction,
  verifyRevocationList,
} from './documents.ts';
import { requireCounting } from './revoked.ts';

interface HeldList {
  /** The published form: the document with its signer's credential. */
  readonly published: Bytes;
  /** The signed document. */
  readonly document: Bytes;
  readonly list: RevocationList;
}

type Named = Pick<Directory, 'installation' | 'adminKey'>;

/** All lists that a process has accepted: the newest of each organisation and of the administrator. Immutable. */
export class Revocations implements RevokedKeys {
  /** By organisation; '' for the administrator. */
  readonly lists: ReadonlyMap<string, HeldList>;
  readonly #byKey = new Map<string, Revoked[]>();

  constructor(lists: ReadonlyMap<string, HeldList> = new Map()) {
    this.lists = lists;
    for (const { list } of lists.values())
      for (const { key, name, at, kept } of list.entries) {
        const { organisation } = list;
        const entry = { name, at, organisation, kept: new Set(kept.map(toHex)) };
        this.#byKey.set(key, [...(this.#byKey.get(key) ?? []), entry]);
      }
  }

  of(key: string): readonly Revoked[] {
    return this.#byKey.get(key) ?? [];
  }

  /** The lists in an order in which a process without any can accept them: the administrator's first. */
  published(): readonly Bytes[] {
    return [...this.lists.keys()].sort().map((scope) => (this.lists.get(scope) as HeldList).published);
  }

  /** Two objects with the same digest hold the same lists. */
  digest(): string {
    return toHex(sha256(...this.published().map((list) => sha256(list))));
  }
}

const publishedSchema = z.strictObject({
  list: z.instanceof(Uint8Array),
  /** The signer's credential; absent if the administrator signed. */
  credential: z.instanceof(Uint8Array).optional(),
});

/** Encodes a signed list for publication. */
export function encodePublished(list: Uint8Array, credential?: Uint8Array): Bytes {
  return encodeCbor(credential === undefined ? { list } : { list, credential });
}

/**
 * Verifies a list and adds it to the lists held: checks its signature, that every key in it belongs to the
 * organisation, that it is newer than the list held, and that it contains every entry of the list held.
 * @param options.stored the list was accepted before, so its signer may have been revoked since
 * @returns undefined if this list is already held
 * @throws {MillraceError} E_CONFLICT for an older list or another list with the same number; E_SIGNATURE, E_AUTH,
 *   E_INPUT, E_FORBIDDEN, E_REVOKED
 */
export async function withList(
  held: Revocations,
  published: Uint8Array,
  { installation, adminKey }: Named,
  { stored = false }: { readonly stored?: boolean } = {},
): Promise<Revocations | undefined> {
  const { list: bytes, credential } = parse(publishedSchema, decodeCbor(published, 'revocations'), 'revocations');
  const { key, organisation } = await signerOf(credential, {
    installation,
    adminKey,
    revocations: stored ? undefined : held,
  });
  const { body: list } = await verifyRevocationList(bytes, installation, onlyKey(key), 'any time');
  if (organisation !== undefined && organisation !== list.organisation)
    throw new MillraceError('E_FORBIDDEN', 'an owner-admin revokes keys of the own organisation only');
  if (!stored) requireCounting({ revocations: held }, keyName(key), bytes);
  const scope = list.organisation ?? '';
  const known = held.lists.get(scope);
  if (known !== undefined) {
    if (equalBytes(known.published, published)) return undefined;
    requireNewer(list, known.list);
  }
  // Ignore revocations here: the inviter of a key in this list may have been revoked before.
  await requireBelonging(list, known?.list, { installation, adminKey });
  const lists = new Map(held.lists).set(scope, { published: copyBytes(published), document: copyBytes(bytes), list });
  return new Revocations(lists);
}

async function signerOf(
  credential: Uint8Array | undefined,
  directory: Named & Pick<Directory, 'revocations'>,
): Promise<{ key: Bytes; organisation?: string }> {
  if (credential === undefined) return { key: fromHex(directory.adminKey) };
  const { publicKey, member } = await verifyCredential(credential, directory);
  if (member === undefined || !member.roles.includes('owner-admin'))
    throw new MillraceError('E_FORBIDDEN', 'only an owner-admin or the administrator revokes keys');
  return { key: publicKey, organisation: member.organisation };
}

function requireNewer(list: RevocationList, known: RevocationList): void {
  const refuse = (why: string) => new MillraceError('E_CONFLICT', `the list of revocations ${why}`);
  if (list.sequence <= known.sequence)
    throw refuse(`is number ${list.sequence}; number ${known.sequence} was accepted before`);
  const keys = new Set(list.entries.map(({ key }) => key));
  const lost = known.entries.find(({ key }) => !keys.has(key));
  if (lost !== undefined) throw refuse(`leaves out the revoked key ${lost.key}`);
}

/** No list may revoke the administrator's key, and no organisation may revoke another organisation's keys. */
async function requireBelonging(
  { organisation, entries }: RevocationList,
  known: RevocationList | undefined,
  directory: Named,
): Promise<void> {
  const admin = keyName(fromHex(directory.adminKey));
  const verified = new Set((known?.entries ?? []).map(({ key }) => key));
  for (const entry of entries) {
    if (entry.key === admin) throw new MillraceError('E_FORBIDDEN', 'the administrator’s key cannot be revoked');
    if (organisation === undefined || verified.has(entry.key)) continue;
    const owner = await ownerOf(entry, directory);
    if (!owner.keys.includes(entry.key) || owner.organisation !== organisation)
      throw new MillraceError('E_FORBIDDEN', `the key ${entry.key} does not belong to the organisation`);
  }
}

/** The names that the proof of an entry proves to be the organisation's. */
async function ownerOf(
  { credential, invitation }: RevocationEntry,
  directory: Named,
): Promise<{ keys: readonly string[]; organisation?: string | undefined }> {
  if (credential !== undefined) {
    const { publicKey, member } = await verifyCredential(credential, directory);
    // A person who signs in is revoked by name, so that another key of the person is not enrolled either.
    const person = member === undefined ? [] : [member.person];
    return { keys: [keyName(publicKey), ...person], organisation: member?.organisation };
  }
  const [document, signer] = invitation ?? [];
  if (document === undefined || signer === undefined)
    throw new MillraceError('E_INPUT', 'revocations: a key without proof of its organisation');
  if (readTransaction(document).type === 'organisation.signin') {
    const { id, organisation } = await verifyOrganisationSignIn(document, signer, directory);
    return { keys: [toHex(id)], organisation };
  }
  const { key, organisation } = await verifyInvitation(document, signer, directory);
  return { keys: [keyName(key)], organisation };
}
