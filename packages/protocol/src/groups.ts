import { equalBytes, MillraceError } from '@millrace/base';
import { type ActedFor, type Attested, verifyFor } from './acting.ts';
import { CLOCK_SKEW_MS, type Directory } from './directory.ts';
import { readTransaction, type TransactionOf } from './documents.ts';
import { verifyAssignment } from './registrations.ts';

// Groups of machines and sites. The administrator states which organisation holds a machine. The organisation states
// which of its machines are in a group. Everybody who acts on a licence for the group verifies both here.

type Named = Pick<Directory, 'installation' | 'adminKey' | 'revocations'>;

/** A group as its organisation has stated it. */
export type GroupStatement = TransactionOf<'group.set'>;

/** The documents that prove that a machine is a member of a group. */
export interface MachineMembership {
  /** `group.set`, and the credential of its signer. */
  readonly statement: Attested;
  /** `machine.assign`. */
  readonly assignment: Uint8Array;
}

/** A verified membership. */
export interface GroupMember {
  readonly group: ActedFor<GroupStatement>;
  readonly assignment: TransactionOf<'machine.assign'>;
}

/** Reads a statement without verifying it. @throws {MillraceError} E_SIGNATURE, E_INPUT */
export function readGroup(statement: Uint8Array): GroupStatement {
  const body = readTransaction(statement);
  if (body.type !== 'group.set') throw new MillraceError('E_INPUT', 'not the statement of a group');
  return body;
}

/**
 * Verifies that an owner-admin or operator has stated the members of a group of their own organisation. Does not show
 * that the organisation holds the machines, nor that no newer statement exists.
 * @throws {MillraceError} as `verifyFor`
 */
export async function verifyGroup(statement: Attested, directory: Named): Promise<ActedFor<GroupStatement>> {
  const { organisation } = readGroup(statement.transaction);
  const roles = ['owner-admin', 'operator'] as const;
  const { body, ...signed } = await verifyFor({ organisation }, roles, statement, directory);
  if (body.type !== 'group.set') throw new MillraceError('E_INPUT', 'not the statement of a group');
  return { body, ...signed };
}

/**
 * Verifies that the organisation of a group holds a machine, and that its statement lists the machine.
 * @param registration hash of the machine's registration
 * @throws {MillraceError} E_LICENCE_INVALID (no member), and as `verifyGroup` and `verifyAssignment`
 */
export async function verifyMembership(
  { statement, assignment: document }: MachineMembership,
  { machine, registration }: { readonly machine: string; readonly registration: Uint8Array },
  directory: Named,
): Promise<GroupMember> {
  const group = await verifyGroup(statement, directory);
  const { organisation, name, kind, machines } = group.body;
  const assignment = await verifyAssignment(document, directory);
  const held = assignment.machine === machine && assignment.organisation === organisation;
  if (!held) throw invalid(`the organisation of ${kind} ${name} does not hold this machine`);
  if (!equalBytes(assignment.registration, registration))
    throw invalid('the machine was registered again: the administrator assigns it to its organisation again');
  if (!machines.includes(machine)) throw invalid(`the machine is not in ${kind} ${name}`);
  return { group, assignment };
}

/** Control accepts a number that is one tolerance ahead of its clock, and a node's clock can be another one behind. */
const MAX_AHEAD_MS = 2 * CLOCK_SKEW_MS;

/**
 * Checks the number of a statement before a node remembers it: no later statement would count after one far ahead.
 * @throws {MillraceError} E_CLOCK
 */
export function requirePresent({ number }: Pick<GroupStatement, 'number'>, now: number): void {
  if (number > now + MAX_AHEAD_MS)
    throw new MillraceError('E_CLOCK', 'the number of the statement is dated in the future');
}

const invalid = (why: string) => new MillraceError('E_LICENCE_INVALID', why);
