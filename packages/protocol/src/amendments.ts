import { type Bytes, equalBytes, MillraceError, toHex } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { keyName, parseSign1 } from '@millrace/identity';
import { type Attested, actsAs, holderParty, ignoringRevocations, type Party, partyName, verifyBy } from './acting.ts';
import { MAX_MACHINES } from './amendment-documents.ts';
import { credentialDocuments, requireRole, verifyCredential } from './credentials.ts';
import type { Directory } from './directory.ts';
import { readTransaction, type Transaction, type TransactionOf } from './documents.ts';
import { type LicensedGroup, MAX_LICENSED_GROUPS } from './group-documents.ts';
import { documentName } from './revoked.ts';

// Documents that parties sign on a licence after its grant: approvals, extensions and transfers. Everybody who acts on
// a licence computes the terms in force from the grant and these documents (spec/protocol.md, 5.7).

/** A document that changes a granted licence. */
export type Amendment = TransactionOf<'licence.approve' | 'licence.extend' | 'licence.transfer'>;

const amendmentTypes = new Set<string>(['licence.approve', 'licence.extend', 'licence.transfer']);
export const isAmendment = (body: Transaction): body is Amendment => amendmentTypes.has(body.type);

/** Maximum number of amendments of one licence. */
export const MAX_AMENDMENTS = 64;

/** What a design's core asks of its licences: approvals by `needed` different keys of `approvers`. */
export interface ApprovalDemand {
  readonly needed: number;
  /** secp256k1 keys, compressed. */
  readonly approvers: readonly Uint8Array[];
}

/** As in a grant: a key, or the identifier of an organisation. */
type Holder = TransactionOf<'licence.grant'>['holder'];

/** A licence with all amendments that are in force. */
export interface AmendedLicence {
  /** The grant, with the machines and groups of its extensions and with its present holder. */
  readonly terms: TransactionOf<'licence.grant'>;
  /** All holders, in order. The last one may order prints. */
  readonly holders: readonly Holder[];
  /** SHA-256 of each transfer in force, hexadecimal, in order. */
  readonly transfers: readonly string[];
  /** Number of approvals that the grant needs. */
  readonly needed: number;
  /** Key names of the approvers who approved the grant. */
  readonly approvedBy: readonly string[];
  /** Amendments that lack approvals and have no effect yet: extensions, and at most one transfer. */
  readonly pending: readonly Uint8Array[];
}

export interface AmendmentRules {
  /** Owner of the design. */
  readonly owner: Party;
  readonly approvals: ApprovalDemand | undefined;
  /** Whether a document has effect: its signer's key may have been revoked. */
  counts(document: Uint8Array): boolean;
  /** Whether a designer of the owner has signed this approval, by a credential that is verified. */
  byDesigner(approval: Uint8Array): boolean;
}

interface Known<T extends Amendment> {
  readonly body: T;
  /** Name of the signing key. */
  readonly signer: string;
  /** Name of the party for which the key acts. */
  readonly party: string;
  readonly bytes: Uint8Array;
}

const known = <T extends Amendment['type']>(list: readonly Known<Amendment>[], type: T) =>
  list.filter(({ body }) => body.type === type) as unknown as readonly Known<TransactionOf<T>>[];

/**
 * Computes the terms in force from documents and credentials that are verified. Approvals and extensions are sets: their
 * order and number make no difference. Transfers form a chain: each is signed for the holder that the previous one
 * names.
 * @throws {MillraceError} E_LICENCE_INVALID for an amendment that can never have effect: of another licence, by another
 *   signer, out of order, not allowed by the terms, with too many machines
 */
export function amendLicence(
  grant: Uint8Array,
  amendments: readonly Attested[],
  { owner, approvals, counts, byDesigner }: AmendmentRules,
): AmendedLicence {
  const granted = readGrant(grant);
  const licence = toHex(granted.id);
  const list = amendments.map((attested) => readAmendment(attested, licence));
  const approvers = new Set(approvals?.approvers.map((key) => keyName(key)));
  const needed = approvals?.needed ?? 0;

  const approvalsOf = (document: Uint8Array) => {
    const name = documentName(document);
    return known(list, 'licence.approve').filter(({ body, bytes }) => equalBytes(body.document, name) && counts(bytes));
  };
  /** Approvers behind a document. Its signer approves it by signing it. */
  const approversOf = (document: Uint8Array): string[] => {
    const names = new Set([...approvalsOf(document).map(({ signer }) => signer), signerName(document)]);
    return [...names].filter((name) => approvers.has(name));
  };

  for (const approval of known(list, 'licence.approve'))
    if (!approvers.has(approval.signer) && !byDesigner(approval.bytes))
      throw invalid('an approval is signed by no approver');

  const pending: Uint8Array[] = [];
  const machines = new Map<string, LicensedMachine>();
  const groups = new Map<string, LicensedGroup>();
  const license = (terms: Pick<TransactionOf<'licence.extend'>, 'machines' | 'groups'>) => {
    for (const group of terms.groups ?? []) groups.set(group.group, joinGroups(groups.get(group.group), group));
    for (const entry of terms.machines) machines.set(entry.machine, joinMachines(machines.get(entry.machine), entry));
  };
  license(granted);
  for (const { bytes, body, ...by } of known(list, 'licence.extend')) {
    if (!actsFor(by, owner)) throw invalid('an extension is not signed for the owner');
    if (!counts(bytes)) continue;
    if (approversOf(bytes).length < needed) pending.push(bytes);
    else license(body);
  }
  if (machines.size > MAX_MACHINES) throw invalid(`a licence has at most ${MAX_MACHINES} machines`);
  if (groups.size > MAX_LICENSED_GROUPS) throw invalid(`a licence has at most ${MAX_LICENSED_GROUPS} groups`);
  for (const { groups: named = [] } of machines.values())
    if (!named.every((group) => groups.has(group)))
      throw invalid('a machine is of a group that the licence does not name');

  let { holder } = granted;
  const holders = [holder];
  const transfers: string[] = [];
  for (const { bytes, body, ...by } of known(list, 'licence.transfer')) {
    if (granted.transfer === undefined) throw invalid('the licence cannot be transferred');
    if (body.number !== transfers.length + 1 || !actsFor(by, holderParty(holder)))
      throw invalid('a transfer is not signed for the present holder, or is out of order');
    if (!counts(bytes)) break;
    if (granted.transfer === 'with-approval' && !approvalsOf(bytes).some((approval) => byDesigner(approval.bytes))) {
      pending.push(bytes);
      break;
    }
    holder = body.to;
    holders.push(holder);
    transfers.push(toHex(documentName(bytes)));
  }
  return {
    terms: {
      ...granted,
      machines: [...machines.values()],
      ...(groups.size > 0 && { groups: [...groups.values()] }),
      holder,
    },
    holders,
    transfers,
    needed,
    approvedBy: approversOf(grant),
    pending,
  };
}

type LicensedMachine = TransactionOf<'licence.extend'>['machines'][number];

/**
 * An entry that names the machine alone replaces one that names it in groups. The groups of two entries of the same
 * registration are united, in any order. Otherwise the first entry counts.
 */
function joinMachines(first: LicensedMachine | undefined, second: LicensedMachine): LicensedMachine {
  if (first === undefined) return second;
  if (first.groups === undefined) return first;
  if (second.groups === undefined) return second;
  if (first.cloud !== second.cloud || !equalBytes(first.registration, second.registration)) return first;
  return { ...first, groups: [...new Set([...first.groups, ...second.groups])].sort() };
}

/** The wider policy of the two, in any order. */
function joinGroups(first: LicensedGroup | undefined, second: LicensedGroup): LicensedGroup {
  if (first === undefined) return second;
  if (first.organisation !== second.organisation) throw invalid('a group is named as that of two organisations');
  if (first.machines !== second.machines) return first.machines === 'any' ? first : second;
  const { kinds: _first, ...joined } = first;
  if (first.kinds === undefined || second.kinds === undefined) return joined;
  return { ...joined, kinds: [...new Set([...first.kinds, ...second.kinds])].sort() };
}

/** Checks that the grant has the approvals that its design asks for. @throws {MillraceError} E_LICENCE_PENDING */
export function requireApproved({ terms, needed, approvedBy }: AmendedLicence): void {
  if (approvedBy.length >= needed) return;
  const licence = toHex(terms.id);
  throw new MillraceError('E_LICENCE_PENDING', `the licence has ${approvedBy.length} of ${needed} approvals`, {
    data: { licence, needed, approved: approvedBy.length },
  });
}

/** The role that a signer needs. Approvers are named by their keys. */
const roles = { 'licence.approve': undefined, 'licence.extend': 'designer', 'licence.transfer': 'operator' } as const;

/**
 * Verifies all amendments of a verified grant and computes the terms in force. Relies on signatures only, not on the
 * node that delivered the documents. A document of a revoked key that the revocation does not keep has no effect.
 * @param directory without revocations for an object that has begun: it is finished
 * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_FORBIDDEN, E_INPUT, E_EXPIRED, E_LICENCE_INVALID
 */
export async function verifyAmendments(
  grant: Uint8Array,
  amendments: readonly Attested[],
  {
    owner,
    approvals,
    directory,
  }: Omit<AmendmentRules, 'counts' | 'byDesigner'> & {
    readonly directory: Pick<Directory, 'installation' | 'adminKey' | 'revocations'>;
  },
): Promise<AmendedLicence> {
  if (amendments.length > MAX_AMENDMENTS) throw invalid(`a licence has at most ${MAX_AMENDMENTS} amendments`);
  const licence = toHex(readGrant(grant).id);
  const revoked = new Set<Uint8Array>();
  const designers = new Set<Uint8Array>();
  for (const attested of amendments) {
    const { body } = readAmendment(attested, licence);
    try {
      const signatory = await verifyCredential(attested.credential, directory);
      const role = roles[body.type];
      if (role !== undefined) requireRole(signatory, role);
      await verifyBy(signatory, attested.transaction, directory);
      if (actsAs(signatory, owner, 'designer')) designers.add(attested.transaction);
    } catch (error) {
      if (!(error instanceof MillraceError && error.code === 'E_REVOKED')) throw error;
      revoked.add(attested.transaction);
      const signatory = await verifyCredential(attested.credential, ignoringRevocations(directory));
      if (actsAs(signatory, owner, 'designer')) designers.add(attested.transaction);
    }
  }
  return amendLicence(grant, amendments, {
    ...{ owner, approvals },
    counts: (document) => !revoked.has(document),
    byDesigner: (approval) => designers.has(approval),
  });
}

/** Hash of each document of a licence: the grant, then its amendments. */
export function licenceHashes(grant: Uint8Array, amendments: readonly Attested[]): Bytes[] {
  return [sha256(grant), ...amendments.map(({ transaction }) => sha256(transaction))];
}

const signerName = (document: Uint8Array): string => toHex(parseSign1(document).keyId);

function actsFor({ signer, party }: Pick<Known<Amendment>, 'signer' | 'party'>, wanted: Party): boolean {
  return 'key' in wanted ? signer === keyName(wanted.key) : party === partyName(wanted);
}

/** Name of the party that a verified credential names. */
function partyOfCredential(credential: Uint8Array, signer: string): string {
  const last = credentialDocuments(credential).at(-1);
  const body = last && readTransaction(last);
  return body?.type === 'organisation.register' ? body.organisation : signer;
}

function readGrant(bytes: Uint8Array): TransactionOf<'licence.grant'> {
  const body = readTransaction(bytes);
  if (body.type !== 'licence.grant') throw invalid('not a licence');
  return body;
}

function readAmendment({ transaction, credential }: Attested, licence: string): Known<Amendment> {
  const body = readTransaction(transaction);
  if (!isAmendment(body)) throw invalid(`${body.type} does not amend a licence`);
  if (body.licence !== licence) throw invalid('an amendment is of another licence');
  const signer = signerName(transaction);
  return { body, signer, party: partyOfCredential(credential, signer), bytes: transaction };
}

const invalid = (why: string) => new MillraceError('E_LICENCE_INVALID', why);
