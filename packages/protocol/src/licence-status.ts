import { type Bytes, copyBytes, MillraceError, toHex } from '@millrace/base';
import { z } from 'zod';
import type { Directory } from './directory.ts';
import { readTransaction, type Transaction, type TransactionOf } from './documents.ts';
import { verifyLicence, verifyTransactionBy } from './opening.ts';

/** What an owner signs on a licence after granting it. */
export type LicenceStatement = TransactionOf<'licence.suspend' | 'licence.reinstate' | 'licence.revoke'>;

const statementTypes = new Set<string>(['licence.suspend', 'licence.reinstate', 'licence.revoke']);
export const isLicenceStatement = (body: Transaction): body is LicenceStatement => statementTypes.has(body.type);

export const licenceStatusSchema = z.strictObject({
  /** Of the newest suspension or reinstatement. */
  number: z.number().int().nonnegative(),
  suspended: z.boolean(),
  /** Whether objects that are being made at a revocation are finished or stopped. */
  revoked: z.enum(['finish', 'stop']).optional(),
});
/** Where a licence stands by its owner's statements; the same in whatever order they came. */
export type LicenceStatus = z.output<typeof licenceStatusSchema>;

/** Without any statement. */
export const activeLicence: LicenceStatus = { number: 0, suspended: false };

/**
 * The status after one more statement. A revocation holds whenever it comes; of the others the one with the highest number
 * holds, and of two with the same number the one that suspends. Replayed and reordered statements therefore change nothing.
 */
export function statusAfter(status: LicenceStatus, statement: LicenceStatement): LicenceStatus {
  const { number } = statement;
  if (statement.type === 'licence.revoke') {
    const stop = statement.stop || status.revoked === 'stop';
    return { ...status, revoked: stop ? 'stop' : 'finish' };
  }
  if (number < status.number) return status;
  const suspended = statement.type === 'licence.suspend' || (number === status.number && status.suspended);
  return { ...status, number, suspended };
}

/** Objects may begin. @throws {MillraceError} E_LICENCE_REVOKED, E_LICENCE_SUSPENDED */
export function requireActive({ suspended, revoked }: LicenceStatus, licence: string): void {
  if (revoked !== undefined)
    throw new MillraceError('E_LICENCE_REVOKED', 'the owner has revoked the licence', { data: { licence } });
  if (suspended)
    throw new MillraceError('E_LICENCE_SUSPENDED', 'the owner has suspended the licence', {
      data: { licence, by: 'owner' },
    });
}

/** Objects that have begun may go on. @throws {MillraceError} E_LICENCE_REVOKED */
export function requireNotStopped({ revoked }: LicenceStatus, licence: string): void {
  if (revoked === 'stop')
    throw new MillraceError('E_LICENCE_REVOKED', 'the owner has revoked the licence and stops its objects', {
      data: { licence },
    });
}

/**
 * Verifies an owner's statement with the licence that it is on, for a node that trusts nobody else's word.
 * @param ownerOf key of a design's owner, as the node learned it when the design was stored
 * @throws {MillraceError} E_LICENCE_INVALID, E_NOT_FOUND (no such design), E_SIGNATURE, E_AUTH (another signer), E_FORBIDDEN,
 *   E_REVOKED
 */
export async function verifyLicenceStatement(
  { licence: bytes, transaction }: { readonly licence: Uint8Array; readonly transaction: Uint8Array },
  { directory, ownerOf }: { directory: Directory; ownerOf(design: string): Promise<Bytes | undefined> | Uint8Array },
): Promise<{ readonly licence: string; readonly statement: LicenceStatement }> {
  const claimed = readTransaction(bytes);
  if (claimed.type !== 'licence.grant') throw new MillraceError('E_LICENCE_INVALID', 'not a licence');
  const found = await ownerOf(claimed.design);
  if (found === undefined) throw new MillraceError('E_NOT_FOUND', `no design ${claimed.design}`);
  const owner = copyBytes(found);
  const { body: granted } = await verifyLicence(bytes, directory, owner);
  const licence = toHex(granted.id);
  // Its number orders it.
  const { body } = await verifyTransactionBy(owner, transaction, directory);
  if (!isLicenceStatement(body) || body.licence !== licence)
    throw new MillraceError('E_FORBIDDEN', 'not the owner’s statement on this licence');
  return { licence, statement: body };
}
