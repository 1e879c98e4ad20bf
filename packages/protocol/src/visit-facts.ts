import { toHex } from '@millrace/base';
import type { TransactionOf, Visa, VisitReport } from './documents.ts';
import { type LedgerFact, machineAccount } from './ledger-facts.ts';

// Ledger events of a visit, in the ledger of the machine's cloud.

export const visitAccount = (visit: string): string => `visit:${visit}`;

/** Evidence: `visit.request`. */
export function visitFact({ id, cloud, print, licence }: TransactionOf<'visit.request'>, actor: string): LedgerFact {
  const visit = toHex(id);
  return { account: visitAccount(visit), type: 'ordered', actor, body: { cloud, print, of: licence } };
}

/** Evidence: `visa`, `visa.request`, `permit-key.register`. */
export function visaFact(visa: Visa, actor: string): LedgerFact {
  const { visit, machine, id } = visa;
  return {
    account: visitAccount(visit),
    type: 'permitted',
    actor,
    body: { machine: machineAccount(machine), visa: toHex(id) },
  };
}

/** Evidence: `visit.report`. */
export function visitReportFact({ visit, event, code }: VisitReport, actor: string): LedgerFact {
  return { account: visitAccount(visit), type: event, actor, body: code === undefined ? {} : { code } };
}
