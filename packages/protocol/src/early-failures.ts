import { copyBytes, MillraceError, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import type { Attested } from './acting.ts';
import {
  type MachineReport,
  readMachineDocument,
  readTransaction,
  type TransactionOf,
  verifyMachineDocument,
} from './documents.ts';
import { cloudOfMachine } from './federation.ts';
import { type LedgerFact, licenceAccount } from './ledger-facts.ts';
import { checkMachine } from './licensed-machines.ts';
import { licenceOf } from './opening.ts';

// Credits by the policy in a licence (docs/adr/0050). The owner's signature is the licence. The machine's is its report.
// `Attested` then holds the report and the machine's registration instead of a person's document and credential.

/** A failure that the credit policy of its licence covers. */
export interface EarlyFailure {
  readonly report: MachineReport;
  /** Key name of the machine. */
  readonly machine: string;
  readonly lines: number;
}

/** Whether a machine has signed the document, not the owner. */
export function isMachineReport(document: Uint8Array): boolean {
  try {
    return readMachineDocument(document).type === 'report';
  } catch (error) {
    if (error instanceof MillraceError) return false;
    throw error;
  }
}

/** Executed lines, if the policy covers a machine's report. */
export function earlyLines(
  { event, facts }: MachineReport,
  { creditPolicy }: Pick<TransactionOf<'licence.grant'>, 'creditPolicy'>,
): number | undefined {
  if (event !== 'failed' || facts.made || facts.lines === undefined || creditPolicy === undefined) return undefined;
  return facts.lines < creditPolicy.below ? facts.lines : undefined;
}

/**
 * Verifies that a machine which the verified licence names has signed that an object of the licence failed early.
 * Machines of extensions do not count: their documents do not come with a credit.
 * @throws {MillraceError} E_FORBIDDEN (the policy does not cover it), E_LICENCE_INVALID (another machine), E_SIGNATURE,
 *   E_AUTH, E_INPUT
 */
export async function verifyEarlyFailure(
  { transaction, credential }: Attested,
  terms: TransactionOf<'licence.grant'>,
  { installation }: { readonly installation: string },
): Promise<EarlyFailure> {
  const registration = readTransaction(credential);
  if (registration.type !== 'machine.register') throw new MillraceError('E_INPUT', 'not the registration of a machine');
  const { machine } = registration;
  // The owner has signed the hash of the registration.
  checkMachine(machine, machine.machine, terms, cloudOfMachine(terms, machine.machine));
  const { body: report } = await verifyMachineDocument(
    transaction,
    installation,
    (id) => (toHex(id) === keyName(machine.publicKey) ? copyBytes(machine.publicKey) : undefined),
    'any time',
  );
  const lines = report.type === 'report' ? earlyLines(report, terms) : undefined;
  if (report.type !== 'report' || lines === undefined || licenceOf(report.object) !== toHex(terms.id))
    throw new MillraceError('E_FORBIDDEN', 'the licence credits no object by this report');
  return { report, machine: machine.machine, lines };
}

/** On the licence, as `creditFact`. Evidence: `report`, `machine.register`. */
export function earlyFailureFact({ report: { object }, machine, lines }: EarlyFailure): LedgerFact {
  return {
    account: licenceAccount(licenceOf(object)),
    type: 'credited',
    actor: machine,
    body: { object, fact: 'failed early', lines },
  };
}
