import { type Bytes, copyBytes, MillraceError, toHex } from '@millrace/base';
import { z } from 'zod';
import type { Directory } from './directory.ts';
import { readTransaction, type Transaction, type TransactionOf } from './documents.ts';
import { verifyLicence, verifyTransactionBy } from './opening.ts';

/** A statement that an owner signs on a licence after the grant. */
export type LicenceStatement = TransactionOf<'licence.suspend' | 'licence.reinstate' | 'licence.revoke'>;

const statementTypes = new Set<string>(['licence.suspend', 'licence.reinstate', 'licence.revoke']);
export const isLicenceStatement = (body: Transaction): body is LicenceStatement => statementTypes.has(body.type);

export const licenceStatusSchema = z.strictObject({
  /** Number of the newest suspension or reinstatement. */
  number: z.number().int().nonnegative(),
  suspended: z.boolean(),
  /** After a revocation: whether objects that have begun are finished or stopped. */
  revoked: z.enum(['finish', 'stop']).optional(),
});
/** Status of a licence according to its owner's statements. The order of arrival does not matter. */
export type LicenceStatus = z.output<typeof licenceStatusSchema>;

/** Status before the first statement. */
export const activeLicence: LicenceStatus = { number: 0, suspended: false };

/**
 * The status after one more statement. A revocation is final, whatever its number. Among the other statements, the
 * highest number takes precedence; if the numbers are equal, the suspension does. Replayed or reordered statements
 * therefore change nothing.
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

/** Checks that objects may begin. @throws {MillraceError} E_LICENCE_REVOKED, E_LICENCE_SUSPENDED */
export function requireActive({ suspended, revoked }: LicenceStatus, licence: string): void {
  if (revoked !== undefined)
    throw new MillraceError('E_LICENCE_REVOKED', 'the owner has revoked the licence', { data: { licence } });
  if (suspended)
    throw new MillraceError('E_LICENCE_SUSPENDED', 'the owner has suspended the licence', {
      data: { licence, by: 'owner' },
    });
}

/** Checks that objects that have begun may continue. @throws {MillraceError} E_LICENCE_REVOKED */
export function requireNotStopped({ revoked }: LicenceStatus, licence: string): void {
  if (revoked === 'stop')
    throw new MillraceError('E_LICENCE_REVOKED', 'the owner has revoked the licence and stops its objects', {
      data: { licence },
    });
}

/**
 * Verifies an owner's statement and its licence. Relies on the signatures only, not on the node that delivered them.
 * @param ownerOf key of a design's owner, recorded by the node when the design was stored
 * @throws {MillraceError} E_LICENCE_INVALID, E_NOT_FOUND (unknown design), E_SIGNATURE, E_AUTH (another signer),
 *   E_FORBIDDEN, E_REVOKED
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
  const { body } = await verifyTransactionBy(owner, transaction, directory);
  if (!isLicenceStatement(body) || body.licence !== licence)
    throw new MillraceError('E_FORBIDDEN', 'not the owner’s statement on this licence');
  return { licence, statement: body };
}
