import { type Bytes, equalBytes, errorCodes, isErrorCode, MillraceError, systemRandom, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import {
  onlyKey,
  readTransaction,
  recognisedCloud,
  requireCounting,
  sha256,
  signVisa,
  type TransactionOf,
  type VisitReport,
  verifyMachineDocument,
  verifyVisa,
  visaFact,
  visitAccount,
  visitFact,
  visitReportFact,
} from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { requireNewest } from './node-states.ts';
import { beginRunning, countReport } from './odometers.ts';
import { FINAL } from './permits.ts';
import { EXPIRED } from './queued-prints.ts';
import { replay } from './replay.ts';
import { spoolForVisit } from './spools.ts';
import type { Submitted } from './submitted.ts';
import type { VisitRecord } from './visit-records.ts';

// Machines of this cloud that make objects of another cloud (docs/adr/0052). Nothing of the design comes here.

/** Maximum number of visits of one user that may be queued for one machine. */
const MAX_QUEUED = 100;
/** Time after its issue within which a visa may start a stream, ms. */
const VISA_MS = 10 * 60_000;

/** A machine of this cloud. @throws {MillraceError} E_MACHINE_UNKNOWN */
async function ownMachine({ records }: ControlContext, machine: string) {
  const found = await records.machines.get(machine);
  if (found !== undefined && found.cloud === undefined) return found.registration;
  throw new MillraceError('E_MACHINE_UNKNOWN', `no machine ${machine} of this cloud is registered`);
}

/**
 * A user asks that a machine makes one object of a recognised cloud.
 * @throws {MillraceError} E_FORBIDDEN, E_CLOUD_UNKNOWN, E_MACHINE_UNKNOWN, E_QUOTA
 */
export async function requestVisit(
  context: ControlContext,
  { body, actor, bytes }: Submitted<TransactionOf<'visit.request'>>,
  visit: string,
): Promise<{ visit: string }> {
  const { records, clock, directory, mutexes, printQueue } = context;
  const visitor = actor.name;
  authorize(actor, 'visit.request');
  recognisedCloud(directory, body.cloud);
  const { cloud, print, licence, machine } = body;
  await ownMachine(context, machine);
  return mutexes.run(`queue/${machine}`, async () => {
    let queued = 0;
    for await (const [, waiting] of records.visits.list({ index: 'queued', group: machine }))
      if (waiting.visitor === visitor) queued++;
    if (queued >= MAX_QUEUED)
      throw new MillraceError('E_QUOTA', `one user may queue at most ${MAX_QUEUED} visits for a machine`, {
        data: { limit: MAX_QUEUED, machine },
      });
    const now = clock.now();
    const startBy = now + Math.max(0, body.expires - body.issued);
    const times = { created: now, startBy };
    const record = {
      visit,
      cloud,
      print,
      licence,
      machine,
      visitor,
      ...times,
      state: 'queued',
      transaction: bytes,
    } as const;
    if (!(await records.visits.create(visit, record))) throw replay(visit);
    printQueue.add({ machine });
    return { visit };
  });
}

/** @throws {MillraceError} E_FORBIDDEN, E_STATE when its machine has got a visa */
export async function cancelVisit(
  { records, mutexes }: ControlContext,
  { body, actor }: Submitted<TransactionOf<'visit.cancel'>>,
): Promise<{ visit: string }> {
  const { visit } = body;
  const found = await records.visits.require(visit);
  authorize(actor, 'visit.cancel', { holder: found.visitor });
  await mutexes.run(found.machine, () =>
    records.visits.update(visit, (current) => {
      if (current.state !== 'queued')
        throw new MillraceError('E_STATE', `the visit is ${current.state}: only a visit that waits can be cancelled`);
      return { ...current, state: 'cancelled', code: 'E_CANCELLED', reason: 'the visitor has cancelled the visit' };
    }),
  );
  return { visit };
}

/** Refuses visits whose machine has not started in time. */
export async function refuseExpiredVisits({
  records,
  clock,
}: Pick<ControlContext, 'records' | 'clock'>): Promise<void> {
  const now = clock.now();
  for await (const [visit] of records.visits.list({ index: 'expiring', group: 'all', below: now }))
    await records.visits.update(visit, (current) => {
      if (current.startBy >= now) return current;
      if (current.state === 'queued') return { ...current, state: 'refused', code: 'E_EXPIRED', reason: EXPIRED };
      if (current.state === 'admitted') return { ...current, state: 'failed', code: 'E_EXPIRED', reason: EXPIRED };
      return current;
    });
}

export interface VisaAnswer {
  readonly visa: Uint8Array;
  readonly request: Uint8Array;
  /** Proves to the machine whose key has signed the request. */
  readonly credential: Uint8Array;
  /** The administrator's registration of the key that has signed the visa. */
  readonly key: Uint8Array;
}

/**
 * A machine asks for the visa of a visit. Control records the run, writes the ledger, then answers. The same run may ask
 * again until it has started. The visa names the newest statement on the machine's spool, if the spool is certified.
 * @param caller key name in the certificate of the machine's link
 */
export function giveVisa(context: ControlContext, caller: string, bytes: Bytes): Promise<VisaAnswer> {
  return context.mutexes.run(caller, () => giveOnce(context, caller, bytes));
}

async function giveOnce(context: ControlContext, caller: string, bytes: Bytes): Promise<VisaAnswer> {
  const { records, directory, clock } = context;
  requireNewest(context);
  const { publicKey } = await ownMachine(context, caller);
  const { body } = await verifyMachineDocument(bytes, directory.installation, onlyKey(publicKey), clock.now());
  if (body.type !== 'visa.request') throw new MillraceError('E_INPUT', 'not a request for a visa');
  const visit = await records.visits.require(body.visit);
  authorize({ role: 'machine', name: caller }, 'visit.run', { machine: visit.machine });
  const { run } = body;
  const again = visit.state === 'admitted' && visit.admitted !== undefined && equalBytes(visit.admitted.run, run);
  if (visit.state !== 'queued' && !again) throw new MillraceError('E_STATE', `the visit is ${visit.state}`);
  const loaded = await admissible(context, visit, caller).catch(async (error: unknown) => {
    // The visit would otherwise come back to the machine, before its other prints, until it expires.
    if (error instanceof MillraceError && FINAL.has(error.code)) await refuse(context, visit, error);
    throw error;
  });
  const visa = await sign(context, visit, run, loaded?.load);
  const spool = loaded && { spool: loaded.spool };
  const admitted = await records.visits.update(visit.visit, (current) => {
    if (current.state === 'admitted' && again && current.admitted !== undefined) {
      const { run: same, visa: first, request } = current.admitted;
      return { ...current, admitted: { run: same, visa: first, request, ...spool } };
    }
    if (current.state !== 'queued') throw new MillraceError('E_STATE', `the visit is ${current.state}`);
    return { ...current, state: 'admitted', admitted: { run, visa, request: bytes, ...spool } };
  });
  // What the machine makes for another cloud advances its odometer, too.
  await beginRunning(context, caller);
  await announce(context, admitted);
  const { document: credential } = await records.users.require(visit.visitor);
  return { visa, request: visit.transaction, credential, key: context.permitKeyDocument };
}

/**
 * Whether the visit may get a visa now.
 * @returns the certified spool of the machine
 * @throws {MillraceError} E_EXPIRED, E_CLOUD_UNKNOWN, E_REVOKED, E_MATERIAL
 */
async function admissible(context: ControlContext, visit: VisitRecord, machine: string) {
  const { directory, clock } = context;
  if (clock.now() > visit.startBy) throw new MillraceError('E_EXPIRED', EXPIRED);
  recognisedCloud(directory, visit.cloud);
  requireCounting(directory, visit.visitor, visit.transaction);
  return spoolForVisit(context, machine);
}

async function refuse({ records }: ControlContext, { visit }: VisitRecord, { code, message }: MillraceError) {
  await records.visits.update(visit, (current) =>
    current.state === 'queued' ? { ...current, state: 'refused', code, reason: message } : current,
  );
}

function sign(
  { clock, permitKey, directory }: ControlContext,
  { visit, cloud, print, licence, machine, transaction }: VisitRecord,
  run: Bytes,
  load: Uint8Array | undefined,
): Promise<Bytes> {
  const issued = clock.now();
  return signVisa(permitKey, directory.installation, {
    type: 'visa',
    id: systemRandom(16),
    issued,
    expires: issued + VISA_MS,
    ...{ cloud, print, licence, machine, run, visit },
    request: sha256(transaction),
    ...(load && { load: sha256(load) }),
  });
}

/** Writes the ledger: the holder's request, and the first visa. Safe to repeat. */
async function announce(
  context: ControlContext,
  { visit, visitor, transaction, admitted }: VisitRecord,
): Promise<void> {
  const { ledger, permitKey, permitKeyDocument, directory } = context;
  const request = readTransaction(transaction);
  if (request.type !== 'visit.request' || admitted === undefined)
    throw new MillraceError('E_STORE', 'the record of the visit holds no request or no visa');
  const visa = await verifyVisa(admitted.visa, directory.installation, () => permitKey.publicKey, 'any time');
  await ledger.appendMany([
    { ...visitFact(request, visitor), evidence: [transaction], eventId: `ordered/${visit}` },
    {
      ...visaFact(visa.body, keyName(permitKey.publicKey)),
      evidence: [admitted.visa, admitted.request, permitKeyDocument],
      eventId: `permitted/${visit}`,
    },
  ]);
}

/**
 * Appends a machine's report on a visit to the ledger, once.
 * @param caller key name in the certificate of the machine's link
 */
export async function takeVisitReport(
  context: ControlContext,
  caller: string,
  bytes: Bytes,
  body: VisitReport,
): Promise<void> {
  const { records, ledger } = context;
  const eventId = `report/${toHex(body.id)}`;
  const visit = await records.visits.require(body.visit);
  authorize({ role: 'machine', name: caller }, 'visit.run', { machine: visit.machine });
  if (visit.admitted === undefined || !equalBytes(visit.admitted.run, body.run))
    throw new MillraceError('E_FORBIDDEN', 'the visit belongs to another run');
  // If control was killed after this report was logged, the visit's record does not show it yet.
  const logged = (await ledger.find(eventId)) !== undefined;
  if (!logged) {
    const account = visitAccount(body.visit);
    await countReport(context, body, { machine: caller, account, spool: visit.admitted.spool });
    await ledger.append({ ...visitReportFact(body, caller), evidence: [bytes], eventId });
  }
  await records.visits.update(visit.visit, (current) => {
    if (logged && current.state !== 'admitted' && current.state !== 'running') return current;
    if (body.event === 'started') return current.state === 'admitted' ? { ...current, state: 'running' } : current;
    if (body.event === 'completed') return { ...current, state: 'completed' };
    const code = body.code ?? 'E_MACHINE';
    return { ...current, state: 'failed', code, reason: isErrorCode(code) ? errorCodes[code].meaning : '' };
  });
}

/** The record of the visit to which an account of the ledger belongs, for the policy. */
export async function visitOf({ records }: ControlContext, account: string) {
  const visit = account.startsWith(visitAccount('')) ? await records.visits.get(account.slice(6)) : undefined;
  return visit && { holder: visit.visitor };
}
