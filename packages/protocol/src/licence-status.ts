import { MillraceError, toHex } from '@millrace/base';
import { z } from 'zod';
import {
  type Attested,
  type DesignOwner,
  ignoringRevocations,
  ownerParty,
  type Party,
  verifyFor,
  verifyLicence,
} from './acting.ts';
import type { Directory } from './directory.ts';
import { readTransaction, type Transaction, type TransactionOf } from './documents.ts';

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

/** A statement on a licence, and the licence; each with the credential of its signer. */
export interface AttestedStatement extends Attested {
  readonly licence: Uint8Array;
  readonly licenceSigner: Uint8Array;
}

/** How a node knows the owner of a design: it recorded the owner when the design was stored. */
export interface OwnerLookup {
  readonly directory: Directory;
  ownerOf(design: string): Promise<DesignOwner | undefined> | DesignOwner;
}

/**
 * Verifies a licence by what this node knows of its design. @throws {MillraceError} E_LICENCE_INVALID, E_NOT_FOUND
 * (unknown design), E_SIGNATURE, E_AUTH (another signer), E_FORBIDDEN (another role)
 */
export async function verifyGrant(
  { licence, licenceSigner }: Pick<AttestedStatement, 'licence' | 'licenceSigner'>,
  { directory, ownerOf }: OwnerLookup,
): Promise<{ readonly terms: TransactionOf<'licence.grant'>; readonly owner: Party }> {
  const claimed = readTransaction(licence);
  if (claimed.type !== 'licence.grant') throw new MillraceError('E_LICENCE_INVALID', 'not a licence');
  const found = await ownerOf(claimed.design);
  if (found === undefined) throw new MillraceError('E_NOT_FOUND', `no design ${claimed.design}`);
  const owner = ownerParty(found);
  const granted = { transaction: licence, credential: licenceSigner };
  const { body: terms } = await verifyLicence(granted, owner, ignoringRevocations(directory));
  return { terms, owner };
}

/**
 * Verifies a document of a design's owner that concerns one licence, and the licence. Relies on the signatures only, not
 * on the node that delivered them.
 * @throws {MillraceError} as `verifyGrant`, E_EXPIRED, E_REVOKED
 */
export async function verifyOnLicence(
  statement: AttestedStatement,
  lookup: OwnerLookup,
): Promise<{ readonly terms: TransactionOf<'licence.grant'>; readonly body: Transaction }> {
  const { terms, owner } = await verifyGrant(statement, lookup);
  const { body } = await verifyFor(owner, 'designer', statement, lookup.directory);
  return { terms, body };
}

/**
 * Verifies a statement that suspends, reinstates or revokes a licence. @throws {MillraceError} as `verifyOnLicence`
 */
export async function verifyLicenceStatement(
  statement: AttestedStatement,
  lookup: OwnerLookup,
): Promise<{ readonly licence: string; readonly statement: LicenceStatement }> {
  const { terms, body } = await verifyOnLicence(statement, lookup);
  const licence = toHex(terms.id);
  if (!isLicenceStatement(body) || body.licence !== licence)
    throw new MillraceError('E_FORBIDDEN', 'not the owner’s statement on this licence');
  return { licence, statement: body };
}
