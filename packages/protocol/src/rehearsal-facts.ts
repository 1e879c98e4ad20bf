import { toHex } from '@millrace/base';
import type { RehearsalResult, TransactionOf } from './documents.ts';
import { type LedgerFact, licenceAccount, machineAccount } from './ledger-facts.ts';

// Ledger events of a rehearsal. It has an account of its own: nothing in a part's certificate depends on it.

export const rehearsalAccount = (rehearsal: string): string => `rehearsal:${rehearsal}`;

/** Evidence: `rehearsal.request`, the credential of its signer. */
export function rehearsalFact(request: TransactionOf<'rehearsal.request'>, actor: string): LedgerFact {
  const { id, licence, machine } = request;
  return {
    account: rehearsalAccount(toHex(id)),
    type: 'ordered',
    actor,
    body: { of: licenceAccount(licence), on: machineAccount(machine) },
  };
}

/** Evidence: `rehearsal.result`. */
export function rehearsedFact({ rehearsal, outcome, rules, code }: RehearsalResult, actor: string): LedgerFact {
  const why = rules.length > 0 ? { rules: rules.join(', ') } : {};
  const body = { fact: 'rehearsed', outcome, ...why, ...(code === undefined ? {} : { code }) };
  return { account: rehearsalAccount(rehearsal), type: 'machine', actor, body };
}
