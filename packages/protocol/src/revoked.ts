import { type Bytes, MillraceError, toHex } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import type { Directory, Revoked } from './directory.ts';

/** The name of a document in a revocation. */
export function documentName(document: Uint8Array): Bytes {
  return sha256(document);
}

type Holding = Pick<Directory, 'revocations'>;

/**
 * A document counts if its signer's key is not revoked, or if every revocation of the key keeps this document. The
 * document's date is not checked, because a stolen key can sign any date.
 * @throws {MillraceError} E_REVOKED
 */
export function requireCounting({ revocations }: Holding, signer: string, document: Uint8Array): void {
  const revoked = revocations?.of(signer) ?? [];
  if (revoked.length === 0) return;
  const name = toHex(documentName(document));
  const by = revoked.find(({ kept }) => !kept.has(name));
  if (by !== undefined) throw revokedError(signer, by);
}

/** @throws {MillraceError} E_REVOKED if the key may no longer sign documents */
export function requireUnrevoked({ revocations }: Holding, key: string): void {
  const [revoked] = revocations?.of(key) ?? [];
  if (revoked !== undefined) throw revokedError(key, revoked);
}

function revokedError(key: string, { name, at }: Revoked): MillraceError {
  const when = new Date(Math.min(at, 8.64e15)).toISOString();
  return new MillraceError('E_REVOKED', `the key ${key} (${name}) was revoked at ${when}`, { data: { key, at } });
}
