import { MillraceError, toHex } from '@millrace/base';
import { type Attested, type Party, verifyFor } from './acting.ts';
import type { TransactionOf } from './documents.ts';
import { type EarlyFailure, isMachineReport, verifyEarlyFailure } from './early-failures.ts';
import { type LedgerFact, licenceAccount } from './ledger-facts.ts';
import { type AttestedStatement, type OwnerLookup, verifyGrant } from './licence-status.ts';
import { licenceOf } from './opening.ts';

type CaseReport = TransactionOf<'case.report'>;
type CaseDecision = TransactionOf<'case.decide'>;

/** Evidence: `case.report`, the credential of its signer. */
export function caseFact({ object, reason }: CaseReport, actor: string): LedgerFact {
  return { account: object, type: 'inspected', actor, body: { fact: 'failure reported', reason } };
}

/** Evidence: `case.decide` without a credit, the credential of its signer. */
export function denialFact({ object }: CaseDecision, actor: string): LedgerFact {
  return { account: object, type: 'inspected', actor, body: { fact: 'credit denied' } };
}

/**
 * On the licence: one more object is possible, in place of `object`. Evidence: `case.decide` with a credit, the
 * credential of its signer.
 */
export function creditFact({ object }: CaseDecision, actor: string): LedgerFact {
  return { account: licenceAccount(licenceOf(object)), type: 'credited', actor, body: { object } };
}

/** On the object itself: it is final. The entry of the licence's account holds the decision. */
export function creditedFact({ object }: Pick<CaseDecision, 'object'>, actor: string): LedgerFact {
  return { account: object, type: 'credited', actor, body: { licence: licenceAccount(licenceOf(object)) } };
}

/** A credited object. */
export interface Credit {
  readonly object: string;
  /** When its signer dated it, ms since 1970. */
  readonly issued: number;
  /** The failure, if the licence's policy credits the object, and not a decision of the owner. */
  readonly failure?: EarlyFailure;
}

/**
 * Verifies a credit and its licence. Relies on the signatures only, not on the node that delivered them.
 * @throws {MillraceError} as `verifyGrant` and `verifyCreditOf`
 */
export async function verifyCredit(
  credit: AttestedStatement,
  lookup: OwnerLookup,
): Promise<Credit & { readonly terms: TransactionOf<'licence.grant'> }> {
  const { terms, owner } = await verifyGrant(credit, lookup);
  return { ...(await verifyCreditOf(owner, credit, lookup.directory, terms)), terms };
}

/**
 * Verifies that the owner of a verified licence has credited an object of it: by a decision, or by the licence's policy
 * for a failure that the machine has signed.
 * @throws {MillraceError} as `verifyFor` and `verifyEarlyFailure`
 */
export async function verifyCreditOf(
  owner: Party,
  credit: Attested,
  directory: Parameters<typeof verifyFor>[3],
  terms: TransactionOf<'licence.grant'>,
): Promise<Credit> {
  if (isMachineReport(credit.transaction)) {
    const failure = await verifyEarlyFailure(credit, terms, directory);
    const { object, issued } = failure.report;
    return { object, issued, failure };
  }
  const { body } = await verifyFor(owner, 'designer', credit, directory);
  if (body.type !== 'case.decide' || !body.credit || licenceOf(body.object) !== toHex(terms.id))
    throw new MillraceError('E_FORBIDDEN', 'not the owner’s credit of an object of this licence');
  return { object: body.object, issued: body.issued };
}
