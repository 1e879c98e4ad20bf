import { type Bytes, copyBytes, equalBytes, MillraceError } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { type Credential, requireRole, verifyCredential } from './credentials.ts';
import { CLOCK_SKEW_MS, type Directory } from './directory.ts';
import { onlyKey, type Signed, type Transaction, type TransactionOf, verifyTransaction } from './documents.ts';
import { requireCounting } from './revoked.ts';
import type { PersonRole } from './shapes.ts';

// Who may sign for the owner of a design or the holder of a licence. Every process that acts on such a document verifies
// it here: control, the proactive nodes, the agent, clients and verifiers of certificates.

/** The owner of a design or the holder of a licence: an organisation, for which its keys act, or one key alone. */
export type Party = { readonly organisation: string } | { readonly key: Uint8Array };

/** A design's owner, as its core states it. */
export interface DesignOwner {
  /** The key that added the design, 33 bytes. */
  readonly owner: Uint8Array;
  /** Organisation of that key; absent for a key alone. */
  readonly organisation?: string | undefined;
}

export function ownerParty({ owner, organisation }: DesignOwner): Party {
  return organisation === undefined ? { key: owner } : { organisation };
}

/** @param holder as in a licence: a key, or the identifier of an organisation */
export function holderParty(holder: Uint8Array | string): Party {
  return typeof holder === 'string' ? { organisation: holder } : { key: holder };
}

/** The party for which a key acts. */
export function partyOf({ member, publicKey }: Pick<Credential, 'member' | 'publicKey'>): Party {
  return member === undefined ? { key: publicKey } : { organisation: member.organisation };
}

/** Identifier of the organisation, or key name. 32 hexadecimal digits. */
export function partyName(party: Party): string {
  return 'key' in party ? keyName(party.key) : party.organisation;
}

export function sameParty(a: Party, b: Party): boolean {
  if ('key' in a) return 'key' in b && equalBytes(a.key, b.key);
  return 'organisation' in b && a.organisation === b.organisation;
}

/** A signed transaction, and the credential of the key that signed it. */
export interface Attested {
  readonly transaction: Uint8Array;
  readonly credential: Uint8Array;
}

/** A transaction whose signer acts for a party. */
export interface ActedFor<T = Transaction> extends Signed<T> {
  readonly signatory: Credential;
}

type Named = Pick<Directory, 'installation' | 'adminKey' | 'revocations'>;

/** The directory without revocations, for documents that count although a key was revoked since. */
export function ignoringRevocations({ installation, adminKey }: Named): Named {
  return { installation, adminKey };
}

/**
 * Verifies a transaction signed for a party in a role, or in one of several: the credential to the administrator's key, the signer's
 * organisation and role, and the signature. A revoked signer's document counts only if the revocation keeps it.
 * @param now the document and its signer's key must not have expired at this time. 'any time': the document may have
 *   waited in the mailbox, or it is valid after its signer's key; it must not be dated after the key expired
 * @throws {MillraceError} E_AUTH (the signer does not act for this party), E_FORBIDDEN (another role), E_SIGNATURE,
 *   E_INPUT, E_EXPIRED, E_CLOCK, E_REVOKED
 */
export async function verifyFor(
  party: Party,
  role: PersonRole | readonly PersonRole[],
  { transaction, credential }: Attested,
  directory: Named,
  now: number | 'any time' = 'any time',
): Promise<ActedFor> {
  const signatory = await verifyCredential(credential, directory);
  requireActing(signatory, party, role);
  return { ...(await verifyBy(signatory, transaction, directory, now)), signatory };
}

/**
 * Verifies a transaction of a key whose credential has been verified: signature, expiry, revocation.
 * @param now as for `verifyFor`
 * @throws {MillraceError} E_AUTH (another signer), E_SIGNATURE, E_INPUT, E_EXPIRED, E_CLOCK, E_REVOKED
 */
export async function verifyBy(
  { publicKey, name, until }: Pick<Credential, 'publicKey' | 'name' | 'until'>,
  transaction: Uint8Array,
  directory: Named,
  now: number | 'any time' = 'any time',
): Promise<Signed<Transaction>> {
  const signed = await verifyTransaction(transaction, directory.installation, onlyKey(publicKey), now);
  const at = now === 'any time' ? signed.body.issued : Math.max(now, signed.body.issued);
  if (at > until + CLOCK_SKEW_MS)
    throw new MillraceError('E_EXPIRED', `the key of ${name} had expired`, { data: { until } });
  requireCounting(directory, keyName(publicKey), transaction);
  return signed;
}

/** @throws {MillraceError} E_AUTH, E_FORBIDDEN */
function requireActing(signatory: Credential, party: Party, role: PersonRole | readonly PersonRole[]): void {
  if (!actsFor(signatory, party))
    throw new MillraceError('E_AUTH', `${signatory.name} does not sign for ${partyName(party)}`);
  requireRole(signatory, ...(typeof role === 'string' ? [role] : role));
}

/** A licence may name a key of an organisation: then this key alone is the holder. */
function actsFor(signatory: Credential, party: Party): boolean {
  return 'key' in party ? equalBytes(party.key, signatory.publicKey) : sameParty(party, partyOf(signatory));
}

/** Whether the verified credential acts for the party in the role. */
export function actsAs(signatory: Credential, party: Party, role: PersonRole): boolean {
  return actsFor(signatory, party) && (signatory.member?.roles.includes(role) ?? true);
}

/** Verifies a licence signed by a designer of the design's owner. The document's expiry limits its delivery only. */
export async function verifyLicence(
  licence: Attested,
  owner: Party,
  directory: Named,
): Promise<ActedFor<TransactionOf<'licence.grant'>>> {
  const { body, ...signed } = await verifyFor(owner, 'designer', licence, directory);
  if (body.type !== 'licence.grant') throw new MillraceError('E_LICENCE_INVALID', 'not a licence');
  return { body, ...signed };
}

/** The design's owner in a form that is independent of the buffer it was read from. */
export function copyOwner({ owner, organisation }: DesignOwner): DesignOwner & { readonly owner: Bytes } {
  return { owner: copyBytes(owner), ...(organisation === undefined ? {} : { organisation }) };
}
