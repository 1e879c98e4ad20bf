import { type Bytes, copyBytes, equalBytes, MillraceError, systemRandom, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import type { LoggedEvent } from '@millrace/ledger';
import {
  checkMachine,
  checkRequest,
  type Machine,
  objectId,
  orderFact,
  type PermitRequest,
  permitFact,
  readMachineDocument,
  readPermit,
  requireActive,
  requireCounting,
  requireNotStopped,
  resumeFact,
  sha256,
  signPermit,
  verifyMachineDocument,
} from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import { requireNoAlarm } from './alarms.ts';
import type { ControlContext } from './context.ts';
import { requireKept, requireSound, requireStored } from './designs.ts';
import { requireNewest } from './node-states.ts';
import { EXPIRED } from './queued-prints.ts';
import { type LicenceRecord, type PrintRecord, readLicence, readPrint, seenRecord, statusOf } from './records.ts';

/** Time after its issue within which a permit may start a stream, ms. */
const PERMIT_MS = 120_000;

export interface CallHomeAnswer {
  readonly permit: Uint8Array;
  readonly print: Uint8Array;
  readonly licence: Uint8Array;
  readonly machine: Machine;
  /** The administrator's registration of the design's owner. */
  readonly owner: Uint8Array;
}

/** Errors after which a queued print can never be permitted. */
export const FINAL: ReadonlySet<string> = new Set([
  'E_LICENCE_EXHAUSTED',
  'E_LICENCE_INVALID',
  'E_LICENCE_SUSPENDED',
  'E_LICENCE_REVOKED',
  'E_MATERIAL',
  'E_EXPIRED',
  'E_DESIGN_DELETED',
  'E_CELL_MISSING',
  'E_CELL_DAMAGED',
  'E_ALARM',
  'E_REVOKED',
]);

/**
 * A machine calls home for one object (design 4, stream step 2). Control claims the object by compare-and-swap, writes
 * the ledger, then returns the permit. The same request again gets the same permit; another request of the same run
 * resumes the print.
 * @param caller key name in the certificate of the machine's link
 */
export function callHome(context: ControlContext, caller: string, bytes: Bytes): Promise<CallHomeAnswer> {
  // One call at a time for each machine, so that a print cannot claim two objects.
  return context.mutexes.run(caller, () => context.licensing.read(() => callHomeOnce(context, caller, bytes)));
}

async function callHomeOnce(context: ControlContext, caller: string, bytes: Bytes): Promise<CallHomeAnswer> {
  const { records, directory, clock } = context;
  requireNewest(context);
  const machine = await records.machines.get(caller);
  if (machine === undefined) throw new MillraceError('E_MACHINE_UNKNOWN', `no machine ${caller} is registered`);
  const { registration } = machine;
  const lookup = (id: Uint8Array) => (toHex(id) === caller ? copyBytes(registration.publicKey) : undefined);
  const { body: request } = await verifyMachineDocument(bytes, directory.installation, lookup, clock.now());
  if (request.type !== 'permit.request') throw new MillraceError('E_INPUT', 'not a permit request');

  const print = await records.prints.require(request.print);
  authorize({ role: 'machine', name: caller }, 'print.run', print);
  const requestHash = sha256(bytes);
  const design = await records.designs.require(print.design);
  if (print.state !== 'queued') requireKept(design); // a queued print is refused permanently below
  const repeated = print.permit !== undefined && equalBytes(print.permit.requestHash, requestHash);
  if (repeated && print.permit?.announced) return answer(context, print, registration);
  if (!(await records.seen.create(toHex(request.id), seenRecord(request))) && !repeated)
    throw new MillraceError('E_REPLAY', 'this permit request was already used');
  const licence = await records.licences.require(print.licence);
  try {
    requireKept(design);
    requirePermitted(print, licence);
    if (print.state === 'queued') requireStored(design); // the print stays queued
    requireSound(design, request.from);
    if (print.state === 'queued') await requireNoAlarm(context, print);
    // A print that has claimed its object has no time limit.
    if (print.number === undefined) {
      requireInTime(print, licence, clock.now());
      requireCounting(directory, licence.owner, licence.transaction);
      requireCounting(directory, licence.holder, print.transaction);
    }
    // An agent that reconnects later must not move its machine by itself.
    else if (waitsToStart(print, request)) requireStart(print, clock.now());
    checkAgainstLicence(request, licence, registration);
    // A request has one permit, even if its announcement was interrupted: the ledger may show it already.
    if (repeated && !isBegun(print)) throw new MillraceError('E_STATE', `the print is ${print.state}`);
    const permitted = repeated ? print : await permit(context, print, licence, request, bytes);
    await announcePermit(context, permitted.print);
    return answer(context, permitted, registration);
  } catch (error) {
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

/** Checks the owner's statements: whether a new object may begin, or an object that has begun may continue. */
function requirePermitted({ state }: PrintRecord, licence: LicenceRecord): void {
  if (state === 'queued') requireActive(statusOf(licence), licence.licence);
  else requireNotStopped(statusOf(licence), licence.licence);
}

function checkAgainstLicence(request: PermitRequest, licence: LicenceRecord, machine: Machine): void {
  const terms = readLicence(licence);
  requireHeld(licence);
  requireNotSuspended(licence);
  checkMachine(machine, machine.machine, terms);
  checkRequest(request, machine, terms);
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

const isBegun = ({ state }: PrintRecord): boolean => state === 'permitted' || state === 'running';

async function permit(
  context: ControlContext,
  print: PrintRecord,
  licence: LicenceRecord,
  request: PermitRequest,
  bytes: Bytes,
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
  const number = print.number ?? (await claimObject(context, licence, print.print));
  const object = objectId(licence.licence, number);
  const id = systemRandom(16);
  const issued = clock.now();
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
      permit: {
        permitId: toHex(id),
        from: request.from,
        bytes: signed,
        request: bytes,
        requestHash: sha256(bytes),
        announced: false,
      },
    };
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
 * Claims the lowest free object of the licence for this print. No new print of the licence is accepted meanwhile,
 * because this one would count twice between the claim and its record: as permitted and as queued.
 * @throws {MillraceError} E_LICENCE_EXHAUSTED
 */
function claimObject(context: ControlContext, licence: LicenceRecord, print: string): Promise<number> {
  return context.mutexes.run(`licence/${licence.licence}`, () => claimOnce(context, licence, print));
}

async function claimOnce(context: ControlContext, licence: LicenceRecord, print: string): Promise<number> {
  const { records } = context;
  for (let number = (await countClaims(context, licence)) + 1; number <= licence.objects; number++) {
    if (!(await records.claims.create(`${licence.licence}/${number}`, { print }))) continue;
    await records.prints.update(print, (current) => ({ ...current, number }));
    return number;
  }
  throw new MillraceError('E_LICENCE_EXHAUSTED', `all ${licence.objects} objects of the licence have been permitted`);
}

/**
 * Completes claims after a crash between the claim of an object and the print's record. The claim is authoritative.
 * Runs before the node serves.
 */
export async function settleClaims({ records, damaged }: ControlContext): Promise<void> {
  for await (const [slot, { print }] of records.claims.list()) {
    const number = Number(slot.slice(slot.indexOf('/') + 1));
    await damaged.attempt('claim', slot, () =>
      records.prints.update(print, (current) => (current.number === undefined ? { ...current, number } : current)),
    );
  }
}

/** Number of claimed objects of the licence. Slots are claimed in order, so this is a search for the first free one. */
export async function countClaims(
  { records }: Pick<ControlContext, 'records'>,
  licence: LicenceRecord,
): Promise<number> {
  let [taken, free] = [licence.floor ?? 0, licence.objects + 1]; // highest known claimed, lowest known free
  while (free - taken > 1) {
    const middle = (taken + free) >> 1;
    if ((await records.claims.get(`${licence.licence}/${middle}`)) === undefined) free = middle;
    else taken = middle;
  }
  return taken;
}

/** Writes the ledger, then mails, so that no hint is sent for an object that is not in the ledger. Safe to repeat. */
export async function announcePermit(context: ControlContext, id: string): Promise<void> {
  const { records, ledger, mailbox, permitKeyDocument } = context;
  const print = await records.prints.require(id);
  const { permit, object, number } = print;
  if (permit === undefined || object === undefined || number === undefined || permit.announced) return;
  const licence = await records.licences.require(print.licence);
  const machine = (await records.machines.require(print.machine)).registration;
  const given = readPermit(permit.bytes);
  const actor = keyName(context.permitKey.publicKey);
  const evidence = [permit.bytes, permit.request, permitKeyDocument];
  const first = await ledger.find(`permitted/${id}`);
  if (permit.from === 0 && first === undefined) {
    await ledger.appendMany([
      {
        ...orderFact(readPrint(print), readLicence(licence), number),
        evidence: [print.transaction],
        eventId: `ordered/${id}`,
      },
      { ...permitFact(given, machine, actor), evidence, eventId: `permitted/${id}` },
    ]);
  } else if (!isBehind(first, permit.bytes)) {
    const request = readMachineDocument(permit.request);
    if (request.type !== 'permit.request') throw new MillraceError('E_STORE', 'the print record holds no request');
    const fact = resumeFact(given, request, actor);
    await ledger.append({ ...fact, evidence, eventId: `resumed/${permit.permitId}` });
  }
  const opening = {
    permit: permit.bytes,
    request: permit.request,
    print: print.transaction,
    licence: licence.transaction,
    machine,
  };
  await mailbox.send({ role: 'segments', partition: print.design }, `open/${permit.permitId}`, {
    type: 'stream.open',
    opening,
  });
  await mailbox.send({ role: 'keys', partition: print.design }, `open/${permit.permitId}`, {
    type: 'stream.open',
    opening,
  });
  await records.prints.update(id, (current) =>
    current.permit?.permitId === permit.permitId ? { ...current, permit: { ...permit, announced: true } } : current,
  );
}

/** Whether the event was written for this document. */
function isBehind(logged: LoggedEvent | undefined, document: Uint8Array): boolean {
  return logged?.event.evidence?.some((bytes) => equalBytes(bytes, document)) ?? false;
}

async function answer({ records }: ControlContext, print: PrintRecord, machine: Machine): Promise<CallHomeAnswer> {
  if (print.permit === undefined) throw new MillraceError('E_INTERNAL', 'a permitted print without a permit');
  const licence = await records.licences.require(print.licence);
  const { document: owner } = await records.users.require(licence.owner);
  return { permit: print.permit.bytes, print: print.transaction, licence: licence.transaction, machine, owner };
}
