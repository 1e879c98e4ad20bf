import { type Bytes, encodeCbor, equalBytes, MillraceError } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { keyName } from '@millrace/identity';
import type { Directory } from './directory.ts';
import type { Machine, TransactionOf } from './documents.ts';
import { type GroupMember, type MachineMembership, verifyMembership } from './groups.ts';

// Whether a licence is for a machine: it names the machine alone, or as a member of a group, or any member of a group.

type Terms = Pick<TransactionOf<'licence.grant'>, 'machines' | 'groups'>;

/** SHA-256 of a machine's registration in deterministic CBOR, as contained in licences. */
export function registrationHash(machine: Machine): Bytes {
  return sha256(encodeCbor(machine));
}

/**
 * Checks a machine that the licence names against its registration.
 * @param cloud the machine's cloud, if it is another one than the licence's
 * @throws {MillraceError} E_MACHINE_UNKNOWN, E_LICENCE_INVALID
 */
export function checkMachine(machine: Machine, id: string, licence: Pick<Terms, 'machines'>, cloud?: string): void {
  requireName(machine, id);
  const named = licence.machines.find((entry) => entry.machine === id);
  if (named === undefined) throw invalid('the licence does not name this machine');
  if (named.cloud !== cloud) throw invalid('the licence names this machine as a machine of another cloud');
  if (!equalBytes(named.registration, registrationHash(machine)))
    throw invalid('the machine’s registration differs from the one in the licence');
}

/**
 * Checks that the licence is for a machine. Control, both proactive nodes, the agent and verifiers of certificates each
 * call it.
 * @param terms the terms in force
 * @param options.cloud the machine's cloud, if it is another one than the licence's
 * @param options.membership required exactly if the licence does not name the machine alone
 * @param options.directory without revocations for an object that has begun: it is finished
 * @returns the verified membership, if one was required
 * @throws {MillraceError} E_MACHINE_UNKNOWN, E_LICENCE_INVALID, and as `verifyMembership`
 */
export async function requireLicensed(
  machine: Machine,
  id: string,
  terms: Terms,
  {
    cloud,
    membership,
    directory,
  }: {
    readonly cloud?: string | undefined;
    readonly membership?: MachineMembership | undefined;
    readonly directory: Pick<Directory, 'installation' | 'adminKey' | 'revocations'>;
  },
): Promise<GroupMember | undefined> {
  requireName(machine, id);
  const entry = terms.machines.find((named) => named.machine === id);
  if (entry !== undefined || membership === undefined) checkMachine(machine, id, terms, cloud);
  if (entry !== undefined && entry.groups === undefined) {
    if (membership !== undefined) throw invalid('the licence names this machine alone, not as a member of a group');
    return undefined;
  }
  if (membership === undefined)
    throw invalid(
      `the licence names this machine as a member of ${entry?.groups?.join(' or ')}, and it is in none of these now`,
    );
  if (cloud !== undefined) throw invalid('a machine of another cloud is no member of a group here');
  const member = await verifyMembership(
    membership,
    { machine: id, registration: registrationHash(machine) },
    directory,
  );
  const { organisation, group } = member.group.body;
  const licensed = terms.groups?.find((known) => known.group === group && known.organisation === organisation);
  if (licensed === undefined) throw invalid('the licence does not name this group');
  if (entry?.groups?.includes(group)) return member;
  if (licensed.machines !== 'any') throw invalid('the licence does not name this machine as a member of the group');
  if (licensed.kinds !== undefined && !licensed.kinds.includes(machine.kind))
    throw invalid(`the licence is for members of kind ${licensed.kinds.join(', ')}, not ${machine.kind}`);
  return member;
}

/** @throws {MillraceError} E_MACHINE_UNKNOWN */
function requireName({ machine, publicKey }: Machine, id: string): void {
  if (machine !== id || keyName(publicKey) !== id)
    throw new MillraceError('E_MACHINE_UNKNOWN', 'the machine’s key differs from its registration');
}

const invalid = (why: string) => new MillraceError('E_LICENCE_INVALID', why);
