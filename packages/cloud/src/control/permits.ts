import { type Bytes, equalBytes, MillraceError, systemRandom, toHex } from '@millrace/base';
import {
  type Attested,
  checkRequest,
  ignoringRevocations,
  type Machine,
  type MachineMembership,
  nodesOf,
  objectId,
  onlyKey,
  PERMIT_MS,
  type PermitRequest,
  requireActive,
  requireApproved,
  requireLicensed,
  requireMaterial,
  requireNotStopped,
  sha256,
  signPermit,
  type VisitingSpool,
  verifyMachineDocument,
} from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import { requireNoAlarm } from './alarms.ts';
import { amended, requireAnnounced } from './amended.ts';
import { announce, shownMembership } from './announce-permit.ts';
import { creditDocuments } from './cases.ts';
import type { ControlContext } from './context.ts';
import { requireKept, requireSound, requireStored } from './designs.ts';
import { membershipOf, neededMembership } from './groups.ts';
import { allowedObjects, amendmentsOf, type LicenceRecord, readLicence, statusOf } from './licence-records.ts';
import { requireNewest } from './node-states.ts';
import { checkOdometer } from './odometers.ts';
import { requireInForce, requireSignerCounting } from './people.ts';
import { EXPIRED } from './queued-prints.ts';
import { isBegun, type MachineRecord, type PrintRecord, seenRecord, signerOf } from './records.ts';
import { requireNotRefused } from './refused-openings.ts';
import { requireLoaded } from './spools.ts';
import { countInPeriod } from './subscriptions.ts';
import { admit, type Visiting } from './visiting-machines.ts';

export interface CallHomeAnswer {
  readonly permit: Uint8Array;
  readonly print: Uint8Array;
  readonly licence: Uint8Array;
  /** Credentials of the keys that signed the licence and the print. */
  readonly licenceSigner: Uint8Array;
  readonly printSigner: Uint8Array;
  /** The owner's credits, one for each object beyond those granted, up to this one. */
  readonly credits: Attested[];
  readonly machine: Machine;
  readonly amendments: Attested[];
  /** Proves that the machine is a member of a group of the licence. */
  readonly membership?: MachineMembership | undefined;
  /** For a machine of another cloud: credentials here of the keys that signed for its spool. */
  readonly signers?: VisitingSpool['signers'];
  /** The design's core: what the licence is for, and which approvals it needs. */
  readonly core: Uint8Array;
}

export interface CallHomeOptions {
  /** Id of the distribution node that passes the call on. */
  readonly distribution?: string | undefined;
  /** What a machine of another cloud shows. */
  readonly visiting?: Visiting | undefined;
}

/** Errors after which a queued print can never be permitted. */
export const FINAL: ReadonlySet<string> = new Set([
  'E_LICENCE_EXHAUSTED',
  'E_LICENCE_QUOTA',
  'E_LICENCE_INVALID',
  'E_LICENCE_PENDING',
  'E_LICENCE_SUSPENDED',
  'E_LICENCE_REVOKED',
  'E_MATERIAL',
  'E_EXPIRED',
  'E_DESIGN_DELETED',
  'E_CELL_MISSING',
  'E_CELL_DAMAGED',
  'E_ALARM',
  'E_REVOKED',
  'E_CLOUD_UNKNOWN',
]);

/**
 * A machine calls home for one object (design 4, stream step 2). Control claims the object by compare-and-swap, writes
 * the ledger, then returns the permit. The same request again gets the same permit; another request of the same run
 * resumes the print.
 * @param caller key name in the certificate of the machine's link
 */
export function callHome(
  context: ControlContext,
  caller: string,
  bytes: Bytes,
  { visiting, distribution }: CallHomeOptions = {},
): Promise<CallHomeAnswer> {
  // One call at a time for each machine, so that a print cannot claim two objects.
  return context.tracer.run('permit', {}, () =>
    context.mutexes.run(caller, () =>
      context.licensing.read(() => callHomeOnce(context, caller, bytes, { visiting, distribution })),
    ),
  );
}

async function callHomeOnce(
  context: ControlContext,
  caller: string,
  bytes: Bytes,
  { visiting, distribution }: CallHomeOptions,
): Promise<CallHomeAnswer> {
  const { records, directory, clock } = context;
  requireNewest(context);
  const machine = await records.machines.get(caller);
  if (machine === undefined || machine.cloud !== visiting?.cloud)
    throw new MillraceError('E_MACHINE_UNKNOWN', `no machine ${caller} is registered`);
  const { registration } = machine;
  const signer = onlyKey(registration.publicKey);
  const { body: request } = await verifyMachineDocument(bytes, directory.installation, signer, clock.now());
  if (request.type !== 'permit.request') throw new MillraceError('E_INPUT', 'not a permit request');

  const print = await records.prints.require(request.print);
  authorize({ role: 'machine', name: caller, cloud: visiting?.cloud }, 'print.run', print);
  const requestHash = sha256(bytes);
  const design = await records.designs.require(print.design);
  if (print.state !== 'queued') requireKept(design); // a queued print is refused permanently below
  const repeated = print.permit !== undefined && equalBytes(print.permit.requestHash, requestHash);
  if (repeated && print.permit?.announced) return answer(context, print, registration);
  if (!repeated && (await records.seen.get(toHex(request.id))) !== undefined) throw alreadyUsed();
  let used: Promise<void> | undefined;
  const mark = async () => {
    if (!repeated && !(await records.seen.create(toHex(request.id), seenRecord(request)))) throw alreadyUsed();
  };
  const use = () => (used ??= mark());
  const licence = await records.licences.require(print.licence);
  try {
    requireKept(design);
    requireNotRefused(print);
    requirePermitted(print, licence);
    if (print.state === 'queued') requireStored(design, print.packaged === true); // the print stays queued
    requireSound(design, request.from);
    if (print.state === 'queued') await requireNoAlarm(context, print);
    // A print that has claimed its object has no time limit.
    if (print.number === undefined) {
      requireInTime(print, licence, clock.now());
      requireSignerCounting(directory, licence);
      requireSignerCounting(directory, print);
      await requireInForce(context, signerOf(print.transaction));
    }
    // An agent that reconnects later must not move its machine by itself.
    else if (waitsToStart(print, request)) requireStart(print, clock.now());
    const member = await checkAgainstLicence(context, print, request, licence, machine);
    const { visiting: shown, ...admission } = await admit(context, print, { machine, request, licence }, visiting);
    await checkMaterial(context, request, registration, licence, {
      begins: print.number === undefined,
      visiting: shown,
    });
    if (print.number === undefined) await checkOdometer(context, caller, request, bytes, licence.owner);
    // A request has one permit, even if its announcement was interrupted: the ledger may show it already.
    if (repeated && !isBegun(print)) throw new MillraceError('E_STATE', `the print is ${print.state}`);
    const permitted = repeated
      ? print
      : await permit(context, { ...print, ...admission, ...member }, licence, { request, bytes, use, distribution });
    const markAnnounced = await announce(context, permitted.print);
    // The machine need not wait for the mark: without it, control announces again, which changes nothing.
    markAnnounced?.().catch((error: unknown) => {
      context.logger.warn({ err: error, print: print.print }, 'permit not marked as announced: announced again later');
    });
    context.metrics.counter('millrace_permits_total', 'permits of objects and of their resumptions').add();
    return answer(context, permitted, registration);
  } catch (error) {
    // A request that was refused must not be used later by somebody who has kept it.
    await use().catch(() => undefined);
    if (error instanceof MillraceError && FINAL.has(error.code) && print.state === 'queued') {
      const { code, message } = error;
      await records.prints.update(print.print, (now) =>
        now.state === 'queued' ? { ...now, state: 'refused', code, reason: message } : now,
      );
    }
    if (error instanceof MillraceError && error.code === 'E_EXPIRED' && waitsToStart(print, request)) {
      const { code, message } = error;
      await records.prints.update(print.print, (now) =>
        waitsToStart(now, request) ? { ...now, state: 'failed', code, reason: message } : now,
      );
    }
    throw error;
  }
}

/**
 * Checks that the licence is valid now and that the print has not expired. The proactive nodes check the same with a
 * tolerance for clock differences. Control allows none, so that they do not refuse a print that has already claimed an
 * object.
 */
function requireInTime(print: PrintRecord, licence: LicenceRecord, now: number): void {
  const { notBefore, notAfter } = readLicence(licence);
  if (now < notBefore) throw new MillraceError('E_LICENCE_INVALID', 'the licence is not valid yet');
  if (now > notAfter) throw new MillraceError('E_EXPIRED', 'the licence has expired');
  requireStart(print, now);
}

/** @throws {MillraceError} E_EXPIRED */
function requireStart({ startBy }: PrintRecord, now: number): void {
  if (now > startBy) throw new MillraceError('E_EXPIRED', EXPIRED);
}

/** Whether the print is permitted and no report says that its machine has moved. */
const waitsToStart = ({ state, permit }: PrintRecord, { from }: PermitRequest): boolean =>
  state === 'permitted' && from === 0 && (permit?.from ?? 0) === 0;

function alreadyUsed(): MillraceError {
  return new MillraceError('E_REPLAY', 'this permit request was already used');
}

/** Checks the owner's statements: whether a new object may begin, or an object that has begun may continue. */
function requirePermitted({ state }: PrintRecord, licence: LicenceRecord): void {
  if (state === 'queued') requireActive(statusOf(licence), licence.licence);
  else requireNotStopped(statusOf(licence), licence.licence);
}

async function checkAgainstLicence(
  context: ControlContext,
  print: PrintRecord,
  request: PermitRequest,
  licence: LicenceRecord,
  machine: MachineRecord,
): Promise<Pick<PrintRecord, 'membership'>> {
  const { registration, cloud } = machine;
  const begins = print.number === undefined;
  const licensed = await amended(context, licence, { begins });
  const { terms } = licensed;
  if (begins) requireAnnounced(licence);
  requireApproved(licensed);
  if (begins && print.holder !== licence.holder)
    throw new MillraceError('E_LICENCE_INVALID', 'the licence was transferred to another holder');
  requireHeld(licence);
  requireNotSuspended(licence);
  // A call that claimed the object and ended before its permit left no membership.
  const membership = print.membership ? neededMembership(terms, print) : await membershipOf(context, terms, machine);
  const directory = begins ? context.directory : ignoringRevocations(context.directory);
  await requireLicensed(registration, registration.machine, terms, { cloud, membership, directory });
  checkRequest(request, registration, terms);
  return membership === undefined ? {} : { membership };
}

/** Verifies the spool that the machine states, against the licence and against control's record of it. */
async function checkMaterial(
  context: ControlContext,
  request: PermitRequest,
  machine: Machine,
  licence: LicenceRecord,
  { begins, visiting }: { readonly begins: boolean; readonly visiting?: VisitingSpool | undefined },
): Promise<void> {
  const { directory, clock } = context;
  const options = { directory, now: clock.now(), begins, visiting };
  const spool = await requireMaterial(request, machine, readLicence(licence), options);
  // The cloud of a visiting machine has the record of its spools, and states it in the visa.
  if (spool !== undefined && visiting === undefined && begins)
    await requireLoaded(context, spool, machine.machine, request);
}

/** @throws {MillraceError} E_LICENCE_INVALID */
export function requireHeld({ licence, lost }: LicenceRecord): void {
  if (lost !== true) return;
  const why = 'the keys node does not have its secret; the owner has to grant another licence';
  throw new MillraceError('E_LICENCE_INVALID', `the licence cannot be used: ${why}`, { data: { licence } });
}

/** @throws {MillraceError} E_LICENCE_SUSPENDED */
export function requireNotSuspended({ licence, suspended }: LicenceRecord): void {
  if (suspended === undefined) return;
  const why = 'a backup was restored and the owner has not yet stated how many objects are left';
  throw new MillraceError('E_LICENCE_SUSPENDED', `the licence is suspended: ${why}`, {
    data: { licence, by: 'restore' },
  });
}

async function permit(
  context: ControlContext,
  print: PrintRecord,
  licence: LicenceRecord,
  {
    request,
    bytes,
    use,
    distribution,
  }: {
    readonly request: PermitRequest;
    readonly bytes: Bytes;
    use(): Promise<void>;
    readonly distribution: string | undefined;
  },
): Promise<PrintRecord> {
  const { records, clock, directory, permitKey } = context;
  const resuming = isBegun(print);
  if (print.state === 'alarmed') throw new MillraceError('E_ALARM', 'the stream of this object is in the alarm state');
  if (!resuming && print.state !== 'queued') throw new MillraceError('E_STATE', `the print is ${print.state}`);
  if (resuming && !(print.run && equalBytes(print.run, request.run))) {
    throw new MillraceError('E_STATE', 'another run of the machine has started the print');
  }
  if (resuming) requireForward(print, request);
  if (!resuming && request.from !== 0) throw new MillraceError('E_INPUT', 'a print begins at segment 0');
  const issued = clock.now();
  return claimObject(context, licence, print, { issued, use }, async (number) => {
    const object = objectId(licence.licence, number);
    const id = systemRandom(16);
    const signed = await signPermit(permitKey, directory.installation, {
      type: 'permit',
      id,
      issued,
      expires: issued + PERMIT_MS,
      print: print.print,
      licence: licence.licence,
      object,
      number,
      design: licence.design,
      machine: print.machine,
      request: sha256(bytes),
      count: 1,
    });
    return records.prints.update(print.print, (current) => {
      // The machine's report of the start may arrive in between.
      if (current.state !== print.state && !(resuming && isBegun(current)))
        throw new MillraceError('E_STATE', `the print is ${current.state}`);
      return {
        ...current,
        state: resuming ? current.state : 'permitted',
        number,
        object,
        run: request.run,
        ...(print.admission === undefined ? {} : { admission: print.admission }),
        ...(print.membership === undefined ? {} : { membership: print.membership }),
        permit: {
          permitId: toHex(id),
          from: request.from,
          bytes: signed,
          request: bytes,
          requestHash: sha256(bytes),
          announced: false,
          // A single one need not be named, and an older node would not know the field.
          ...(nodesOf(directory, 'distribution').length > 1 && distribution !== undefined && { distribution }),
        },
      };
    });
  });
}

/**
 * A machine resumes where it stopped. It must not receive a segment that it has passed, even if its disk was restored.
 */
function requireForward({ state, permit }: PrintRecord, { from }: PermitRequest): void {
  const lowest = Math.max(permit?.from ?? 0, state === 'running' ? 1 : 0);
  if (from >= lowest) return;
  throw new MillraceError('E_REPLAY', `the print is past segment ${from}`, { data: { from, lowest } });
}

/**
 * Claims the lowest free object of the licence for this print, unless it has one, and records it. No new print of the
 * licence is accepted meanwhile, because this one would count twice between the claim and its record: as permitted and
 * as queued.
 * @param use marks the request as used; the mark shares the commit of the claim
 * @param record writes the object's number into the print's record
 * @throws {MillraceError} E_LICENCE_EXHAUSTED, E_LICENCE_QUOTA, E_LICENCE_INVALID (before the subscription begins)
 */
function claimObject(
  context: ControlContext,
  licence: LicenceRecord,
  print: PrintRecord,
  { issued, use }: { readonly issued: number; use(): Promise<void> },
  record: (number: number) => Promise<PrintRecord>,
): Promise<PrintRecord> {
  return context.mutexes.run(`licence/${licence.licence}`, async () => {
    await countInPeriod(context, licence, print, issued);
    if (print.number !== undefined) {
      await use();
      return record(print.number);
    }
    const used = use();
    used.catch(() => undefined); // reported below, after the claim
    const number = await claimOnce(context, licence, print.print);
    try {
      await used;
      const recorded = await record(number);
      context.settled.add(licence.licence);
      return recorded;
    } catch (error) {
      // The claim stays. Without its number, the print would claim another object when it is permitted again.
      await recordNumber(context, print.print, number);
      context.settled.add(licence.licence);
      throw error;
    }
  });
}

/** Licences that are remembered; looking at the last claim of another one takes two reads. */
const MOST_SETTLED = 10_000;

async function claimOnce(context: ControlContext, licence: LicenceRecord, print: string): Promise<number> {
  const taken = await countClaims(context, licence);
  if (context.settled.size > MOST_SETTLED) context.settled.clear();
  if (!context.settled.delete(licence.licence)) await settleClaimsOf(context, licence.licence, taken);
  // A control node that was active before has claimed it for this print, and ended before it recorded the number.
  if ((await context.records.claims.get(`${licence.licence}/${taken}`))?.print === print) return taken;
  for (let number = taken + 1; number <= allowedObjects(licence); number++)
    if (await context.records.claims.create(`${licence.licence}/${number}`, { print })) return number;
  const all = allowedObjects(licence);
  throw new MillraceError('E_LICENCE_EXHAUSTED', `all ${all} objects of the licence have been permitted`);
}

async function recordNumber({ records }: ControlContext, print: string, number: number): Promise<void> {
  await records.prints.update(print, (current) => (current.number === undefined ? { ...current, number } : current));
}

/**
 * Completes claims after a crash between the claim of an object and the print's record. The claim is authoritative.
 * Runs before the node serves. Such a claim is the last one of its licence, because no further one is made before the
 * number is recorded, and its print is in the queue. If it was cancelled meanwhile, the next claim completes this one.
 */
export async function settleClaims(context: ControlContext): Promise<void> {
  const { records, damaged } = context;
  const settled = new Set<string>();
  for await (const [, { licence, number }] of records.prints.list({ index: 'expiring', group: 'all' })) {
    if (number !== undefined || settled.has(licence)) continue;
    settled.add(licence);
    await damaged.attempt('licence', licence, async () => {
      const taken = await countClaims(context, await records.licences.require(licence));
      await settleClaimsOf(context, licence, taken);
    });
  }
}

/** @param taken number of claimed objects of the licence */
async function settleClaimsOf(context: ControlContext, licence: string, taken: number): Promise<void> {
  const { records } = context;
  for (let number = taken; number > 0; number--) {
    const claim = await records.claims.get(`${licence}/${number}`);
    const print = claim && (await records.prints.get(claim.print));
    if (claim === undefined || print?.number !== undefined) return;
    await recordNumber(context, claim.print, number);
  }
}

/** Number of claimed objects of the licence. Slots are claimed in order, so this is a search for the first free one. */
export async function countClaims(
  { records }: Pick<ControlContext, 'records'>,
  licence: LicenceRecord,
): Promise<number> {
  let [taken, free] = [licence.floor ?? 0, allowedObjects(licence) + 1]; // highest known claimed, lowest known free
  while (free - taken > 1) {
    const middle = (taken + free) >> 1;
    if ((await records.claims.get(`${licence.licence}/${middle}`)) === undefined) free = middle;
    else taken = middle;
  }
  return taken;
}

async function answer(context: ControlContext, print: PrintRecord, machine: Machine): Promise<CallHomeAnswer> {
  const { records } = context;
  if (print.permit === undefined) throw new MillraceError('E_INTERNAL', 'a permitted print without a permit');
  const licence = await records.licences.require(print.licence);
  const { permit, transaction, credential: printSigner } = print;
  const { transaction: terms, credential: licenceSigner } = licence;
  const beyond = Math.max(0, (print.number ?? 0) - licence.objects);
  const credits = await creditDocuments(context, licence.credits.slice(0, beyond));
  const { core } = await context.records.designs.require(licence.design);
  const signed = { permit: permit.bytes, print: transaction, licence: terms, licenceSigner, printSigner };
  const { signers } = print.admission ?? {};
  const membership = await shownMembership(context, print, licence);
  return { ...signed, signers, amendments: amendmentsOf(licence), core, credits, machine, membership };
}
