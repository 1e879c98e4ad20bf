import { equalBytes, MillraceError } from '@millrace/base';
import { type ActedFor, type Attested, verifyFor } from './acting.ts';
import { CLOCK_SKEW_MS, type Directory } from './directory.ts';
import { readTransaction, type TransactionOf } from './documents.ts';
import { verifyAssignment } from './registrations.ts';

// Settings of machines that their organisation has signed. Control carries them; the agent verifies them here.

type Named = Pick<Directory, 'installation' | 'adminKey' | 'revocations'>;

/** As control gives it to a machine. Nothing in it is verified. */
export interface OfferedSettings {
  /** `machine.settings`, and the credential of its signer. */
  readonly statement: Attested;
  /** `machine.assign`. */
  readonly assignment: Uint8Array;
}

export interface VerifiedSettings {
  readonly statement: ActedFor<TransactionOf<'machine.settings'>>;
  readonly assignment: TransactionOf<'machine.assign'>;
}

/** Reads a statement without verifying it. @throws {MillraceError} E_SIGNATURE, E_INPUT */
export function readMachineSettings(statement: Uint8Array): TransactionOf<'machine.settings'> {
  const body = readTransaction(statement);
  if (body.type !== 'machine.settings') throw new MillraceError('E_INPUT', 'not the settings of a machine');
  return body;
}

/**
 * Verifies that an owner-admin or operator of the organisation that holds the machine has signed the statement for it.
 * Does not show that no newer statement exists.
 * @param registration hash of the machine's registration
 * @throws {MillraceError} E_FORBIDDEN (another machine, another organisation), E_INPUT (a number ahead of its date), and
 *   as `verifyFor` and `verifyAssignment`
 */
export async function verifyMachineSettings(
  { statement, assignment: document }: OfferedSettings,
  { machine, registration }: { readonly machine: string; readonly registration: Uint8Array },
  directory: Named,
): Promise<VerifiedSettings> {
  const { organisation } = readMachineSettings(statement.transaction);
  const roles = ['owner-admin', 'operator'] as const;
  const { body, ...signed } = await verifyFor({ organisation }, roles, statement, directory);
  if (body.type !== 'machine.settings') throw new MillraceError('E_INPUT', 'not the settings of a machine');
  if (!body.machines.includes(machine)) throw forbidden('the settings are for other machines');
  // No later statement would count.
  if (body.number > body.issued + CLOCK_SKEW_MS)
    throw new MillraceError('E_INPUT', 'the number of the statement is ahead of its date');
  const assignment = await verifyAssignment(document, directory);
  const isHeld = assignment.machine === machine && assignment.organisation === organisation;
  if (!isHeld || !equalBytes(assignment.registration, registration))
    throw forbidden('the organisation that has signed the settings does not hold this machine');
  return { statement: { body, ...signed }, assignment };
}

const forbidden = (why: string) => new MillraceError('E_FORBIDDEN', why);
