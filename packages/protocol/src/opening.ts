import { type Bytes, equalBytes, MillraceError, toHex } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import {
  type ActedFor,
  type Attested,
  type DesignOwner,
  holderParty,
  ignoringRevocations,
  ownerParty,
  verifyFor,
  verifyLicence,
} from './acting.ts';
import {
  type AmendedLicence,
  type ApprovalDemand,
  licenceHashes,
  requireApproved,
  verifyAmendments,
} from './amendments.ts';
import { CLOCK_SKEW_MS, type Directory } from './directory.ts';
import {
  type Machine,
  onlyKey,
  type Permit,
  type PermitRequest,
  type TransactionOf,
  verifyMachineDocument,
} from './documents.ts';
import { type Admission, cloudOfMachine, linkName, verifyAdmission } from './federation.ts';
import { type GroupMember, type MachineMembership, requirePresent } from './groups.ts';
import { requireLicensed } from './licensed-machines.ts';
import { verifyPermitOf } from './permit-keys.ts';
import { type LimitedPeriod, requirePeriod } from './prices.ts';
import { type LoadedSpool, materialWords, nameOfMaterial, requireMaterial } from './spools.ts';

export { sha256 };

/** All documents that authorise one stream, as sent by control to the proactive nodes. */
export interface Opening {
  readonly permit: Uint8Array;
  readonly request: Uint8Array;
  readonly print: Uint8Array;
  readonly licence: Uint8Array;
  /** Credentials of the keys that signed the licence and the print. */
  readonly licenceSigner: Uint8Array;
  readonly printSigner: Uint8Array;
  /** Approvals, extensions and transfers of the licence. */
  readonly amendments: readonly Attested[];
  readonly machine: Machine;
  /** Proves that the machine is a member of a group of the licence. Absent if the licence names the machine alone. */
  readonly membership?: MachineMembership | undefined;
  /** Proves the eligibility of a machine of another cloud. */
  readonly admission?: Admission | undefined;
}

export interface VerifiedOpening {
  readonly permit: Permit;
  readonly request: PermitRequest;
  /** The terms in force. */
  readonly licence: TransactionOf<'licence.grant'>;
  /** Names of the licence's transfers, in order. */
  readonly transfers: readonly string[];
  readonly machine: Machine;
  /** The machine as a member of a group of the licence. */
  readonly member: GroupMember | undefined;
  /** The machine's name on links. */
  readonly link: string;
  /** The period in which the object begins, if a subscription limits its objects. Undefined if it has begun. */
  readonly period: LimitedPeriod | undefined;
  /** The spool that the machine states, verified. */
  readonly spool: LoadedSpool | undefined;
  /** Hash of the whole chain; the session is bound to it. */
  readonly hash: Bytes;
}

export interface OpeningContext {
  readonly directory: Directory;
  readonly now: number;
  /** The design as recorded by this node when it was stored. */
  designOf(design: string): Promise<DesignAuthority | undefined>;
  /** Whether this node has a record of the object. If so, the object began in time; its duration does not matter. */
  begun(object: string): Promise<boolean>;
  /** Number of the licence's objects that the owner has credited, by this node's records. */
  credits(licence: string): Promise<number>;
}

/** Owner and content of a design. */
export interface DesignAuthority extends DesignOwner {
  /** SHA-256 of the design's core. */
  readonly coreHash: Bytes;
  /** Approvals that the core asks of every licence. */
  readonly approvals?: ApprovalDemand | undefined;
}

/**
 * Checks that the segments node and the keys node each make: owner → licence → holder → print → machine → request →
 * permit, and that the signers act for the owner and the holder in the right roles. They trust the control node for the
 * permit only, which only control can sign. The ages of the print and the licence are checked only when the object
 * begins.
 * @throws {MillraceError} the code of the first check that fails
 */
export async function verifyOpening(opening: Opening, context: OpeningContext): Promise<VerifiedOpening> {
  const { directory, now } = context;
  const { installation } = directory;
  const { body: permit } = await verifyPermitOf(directory, opening.permit, now);

  const design = await context.designOf(permit.design);
  if (design === undefined) throw new MillraceError('E_NOT_FOUND', 'the design of this permit is not stored');
  const begins = !(await context.begun(permit.object));
  // An object that has begun is finished, even if a signer's key was revoked meanwhile.
  const counting = begins ? directory : ignoringRevocations(directory);
  const granted = { transaction: opening.licence, credential: opening.licenceSigner };
  const licence = await verifyLicence(granted, ownerParty(design), counting);
  if (!equalBytes(licence.body.core, design.coreHash))
    throw new MillraceError('E_LICENCE_INVALID', 'the licence is for different content of the design');
  if (toHex(licence.body.id) !== permit.licence || licence.body.design !== permit.design) {
    throw new MillraceError('E_PERMIT', 'the permit belongs to another licence');
  }
  const { objects } = licence.body;
  if (permit.number > objects && permit.number > objects + (await context.credits(permit.licence)))
    throw new MillraceError('E_LICENCE_EXHAUSTED', 'the permit exceeds the licence');
  if (permit.object !== objectId(permit.licence, permit.number))
    throw new MillraceError('E_PERMIT', 'the object does not match the permit');

  if (begins) requireValidity(licence.body, now);
  const rules = { owner: ownerParty(design), approvals: design.approvals, directory: counting };
  const amended = await verifyAmendments(opening.licence, opening.amendments, rules);
  requireApproved(amended);
  const { terms } = amended;
  const ordered = { transaction: opening.print, credential: opening.printSigner };
  const print = await verifyOrder(amended, ordered, counting, begins ? now : 'begun');
  if (print.body.type !== 'print.request' || toHex(print.body.id) !== permit.print) {
    throw new MillraceError('E_PERMIT', 'the permit belongs to another print');
  }
  if (print.body.licence !== permit.licence || print.body.machine !== permit.machine) {
    throw new MillraceError('E_PERMIT', 'print and permit differ');
  }

  const cloud = cloudOfMachine(terms, permit.machine);
  const { machine, membership } = opening;
  const member = await requireLicensed(machine, permit.machine, terms, { cloud, membership, directory: counting });
  if (begins && member !== undefined)
    for (const stated of [member.group.body, member.assignment]) requirePresent(stated, now);
  const request = await verifyMachineDocument(opening.request, installation, onlyKey(machine.publicKey), now);
  if (request.body.type !== 'permit.request' || !equalBytes(sha256(opening.request), permit.request)) {
    throw new MillraceError('E_PERMIT', 'the permit answers another request');
  }
  checkRequest(request.body, machine, terms);
  if (request.body.print !== permit.print) throw new MillraceError('E_PERMIT', 'the request belongs to another print');
  const visited = {
    licence: terms,
    print: permit.print,
    holder: print.signer,
    machine,
    request: request.body,
  };
  const visiting = await verifyAdmission(directory, visited, opening.admission, begins ? now : 'any time');
  const spool = await requireMaterial(request.body, machine, terms, { directory, now, begins, visiting });
  return {
    permit,
    request: request.body,
    licence: terms,
    transfers: amended.transfers,
    machine,
    member,
    link: linkName(machine.machine, cloud),
    period: begins ? requirePeriod(terms, permit.issued, now) : undefined,
    spool,
    hash: openingHash(opening),
  };
}

/** Hash of all documents of an opening. The session is bound to it. */
export function openingHash({
  permit,
  request,
  print,
  licence,
  amendments,
  membership,
}: Pick<Opening, 'permit' | 'request' | 'print' | 'licence' | 'amendments' | 'membership'>): Bytes {
  const shown = membership === undefined ? [] : [membership.statement.transaction, membership.assignment];
  return sha256(
    ...[permit, request, print].map((document) => sha256(document)),
    ...licenceHashes(licence, amendments),
    ...shown.map((document) => sha256(document)),
  );
}

/**
 * Verifies a print request, or a failure report, of the licence's holder. An object that has begun is finished for a
 * former holder too.
 * @param now the time at which the object begins; 'begun' if it has begun
 * @throws {MillraceError} as `verifyFor`
 */
export async function verifyOrder(
  { terms, holders }: AmendedLicence,
  ordered: Attested,
  directory: Parameters<typeof verifyFor>[3],
  now: number | 'begun',
): Promise<ActedFor> {
  if (now !== 'begun') return verifyFor(holderParty(terms.holder), 'operator', ordered, directory, now);
  for (const holder of holders.slice(0, -1))
    try {
      return await verifyFor(holderParty(holder), 'operator', ordered, directory);
    } catch (error) {
      if (!(error instanceof MillraceError && error.code === 'E_AUTH')) throw error;
    }
  return verifyFor(holderParty(terms.holder), 'operator', ordered, directory);
}

export function objectId(licence: string, number: number): string {
  return `${licence}-${number}`;
}

/** Id of the licence, which is the first part of an object's name. */
export function licenceOf(object: string): string {
  return object.slice(0, object.lastIndexOf('-'));
}

/** Number of the object in its licence, which is the last part of its name. */
export function numberOf(object: string): number {
  return Number(object.slice(object.lastIndexOf('-') + 1));
}

/** Checks the period in which objects may begin. @throws {MillraceError} E_LICENCE_INVALID, E_EXPIRED */
function requireValidity({ notBefore, notAfter }: TransactionOf<'licence.grant'>, now: number): void {
  if (now < notBefore - CLOCK_SKEW_MS) throw new MillraceError('E_LICENCE_INVALID', 'the licence is not valid yet');
  if (now > notAfter + CLOCK_SKEW_MS) throw new MillraceError('E_EXPIRED', 'the licence has expired');
}

/** @throws {MillraceError} E_MACHINE_UNKNOWN, E_MATERIAL */
export function checkRequest(request: PermitRequest, machine: Machine, licence: TransactionOf<'licence.grant'>): void {
  if (request.serial !== machine.serial)
    throw new MillraceError('E_MACHINE_UNKNOWN', 'the serial number differs from the registration');
  const { materials } = licence;
  if (materials.length > 0 && !materials.some((material) => nameOfMaterial(material) === request.material)) {
    throw new MillraceError(
      'E_MATERIAL',
      `the licence allows ${materials.map(materialWords).join(', ')}; ${request.material} is loaded`,
    );
  }
}
