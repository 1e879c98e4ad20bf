import {
  Backoff,
  type Bytes,
  type Clock,
  copyBytes,
  equalBytes,
  MillraceError,
  type RandomSource,
  sleep,
  toHex,
} from '@millrace/base';
import { generateP256Key, keyName, type P256Key } from '@millrace/identity';
import {
  type Attested,
  CLOCK_SKEW_MS,
  checkRequest,
  ignoringRevocations,
  objectId,
  openingHash,
  type Party,
  type Permit,
  type PermitRequest,
  partyOf,
  requireApproved,
  requireLicensed,
  requireMaterial,
  sha256,
  signMachineDocument,
  type TransactionOf,
  verifyAmendments,
  verifyCredential,
  verifyCreditOf,
  verifyLicence,
  verifyOrder,
  verifyPermitOf,
} from '@millrace/protocol';
import { readCore } from '@millrace/vault';
import type { CloudLink } from './cloud-link.ts';
import type { MachineConfig } from './config.ts';
import { type ControlCalls, isPassing, type PermitAnswer } from './control-calls.ts';
import type { Level } from './matrix-level.ts';
import type { MachineOdometer } from './odometer.ts';
import type { SpoolState } from './spool-state.ts';
import type { Timing } from './timing.ts';

/** Time during which a signed request may be repeated. */
const REQUEST_MS = 10 * 60_000;
/** Maximum number of requests: control may record one and fail before it answers. */
const ATTEMPTS = 3;

/** A visit to another cloud, as a user of this machine's own cloud has requested it and its control has granted it. */
export interface GrantedVisit {
  /** The machine's own cloud. */
  readonly home: string;
  /** The licence at the other cloud. */
  readonly licence: string;
  /** Key of the user, who must also have signed the print at the other cloud. */
  readonly visitor: Bytes;
  /** `spool.load` of the certified spool that this machine states there. */
  readonly load: Uint8Array | undefined;
}

/** A verified permit, and the data that its session is bound to. */
export interface PermittedSession {
  readonly permit: Permit;
  /** The keys node's offer carries this id. */
  readonly permitId: string;
  readonly openingHash: Bytes;
  /** The terms in force. */
  readonly licence: TransactionOf<'licence.grant'>;
  /** For whom the licence was signed. The design's core must name the same owner. */
  readonly owner: Party;
  /** The session's ephemeral key. Its holder closes it. */
  readonly ephemeral: P256Key;
}

export interface Wanted {
  readonly print: string;
  readonly run: Bytes;
  /** First segment wanted. */
  readonly from: number;
  /** Requested level of the session's matrix, and the time that one of its tables takes here, ms. */
  readonly level: Level;
  readonly tableMs: number;
}

export interface CallHomeOptions {
  readonly config: MachineConfig;
  readonly calls: Pick<ControlCalls, 'callHome'>;
  readonly visit?: GrantedVisit | undefined;
  readonly link: CloudLink;
  readonly refreshRevocations: (signal: AbortSignal) => Promise<void>;
  readonly spool: Pick<SpoolState, 'material' | 'proof'>;
  readonly odometer: Pick<MachineOdometer, 'statement'>;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly timing: Timing;
  /** How long to go on asking: the time left, ms, at each moment. */
  readonly patience: { readonly leftMs: number };
}

/**
 * Asks control for a permit. If the answer is lost, the same signed request is sent again and gets the same answer, so
 * a lost answer costs no object. After an outage longer than its lifetime, another request of the same run is sent.
 * @throws {MillraceError} the code of control's refusal; E_PERMIT if the permit is for another request; E_STARVED
 */
export async function callHome(
  options: CallHomeOptions,
  wanted: Wanted,
  signal: AbortSignal,
): Promise<PermittedSession> {
  for (let attempt = 1; ; ) {
    try {
      const permitted = await callOnce(options, wanted, signal);
      if (permitted !== undefined) return permitted;
    } catch (error) {
      // Control recorded the request and failed before it answered. A new request of the same run gets the same permit.
      const noted = error instanceof MillraceError && error.code === 'E_REPLAY';
      if (!noted || attempt++ === ATTEMPTS) throw error;
    }
  }
}

/** @returns undefined if the request expired before control answered */
async function callOnce(
  options: CallHomeOptions,
  wanted: Wanted,
  signal: AbortSignal,
): Promise<PermittedSession | undefined> {
  const { config, clock } = options;
  const ephemeral = generateP256Key();
  try {
    const body: PermitRequest = {
      type: 'permit.request',
      id: options.random(16),
      issued: clock.now(),
      expires: clock.now() + REQUEST_MS,
      print: wanted.print,
      serial: config.serial,
      material: options.spool.material,
      ...(options.spool.proof && { spool: options.spool.proof }),
      ...(options.visit?.load && { load: copyBytes(options.visit.load) }),
      ...(await options.odometer.statement()),
      ephemeral: ephemeral.publicKey,
      run: wanted.run,
      from: wanted.from,
      ...wanted.level,
      hints: config.agent.hints,
      tableMs: wanted.tableMs,
    };
    const request = await signMachineDocument(config.machineKey, config.directory.installation, body);
    // Run this concurrently with the request: an unresponsive distribution node then delays the print less.
    const refreshing = wanted.from === 0 ? options.refreshRevocations(signal) : undefined;
    const answer = await ask(options, request, body.expires, signal);
    await refreshing;
    if (answer === undefined) {
      ephemeral.close();
      return undefined;
    }
    const { visit } = options;
    return { ...(await checkPermit(config, clock.now(), { body, bytes: request }, answer, visit)), ephemeral };
  } catch (error) {
    ephemeral.close();
    throw error;
  }
}

/** @returns undefined once the request has expired @throws {MillraceError} E_STARVED */
async function ask(
  { clock, timing, patience, calls, link }: CallHomeOptions,
  request: Bytes,
  expires: number,
  signal: AbortSignal,
): Promise<PermitAnswer | undefined> {
  const backoff = new Backoff(timing.backoff);
  for (;;) {
    if (patience.leftMs <= 0) throw new MillraceError('E_STARVED', 'control does not answer');
    await connected(link, patience, signal);
    if (clock.now() >= expires) return undefined;
    try {
      return await calls.callHome(request, signal);
    } catch (error) {
      if (signal.aborted || !isPassing(error)) throw error;
    }
    await sleep(backoff.next(), signal);
  }
}

async function connected(link: CloudLink, patience: CallHomeOptions['patience'], signal: AbortSignal): Promise<void> {
  for (;;) {
    const enough = AbortSignal.timeout(Math.min(Math.ceil(Math.max(1, patience.leftMs)), 2 ** 31 - 1));
    try {
      return await link.whenConnected(AbortSignal.any([signal, enough]));
    } catch (cause) {
      signal.throwIfAborted();
      if (patience.leftMs <= 0)
        throw new MillraceError('E_STARVED', 'there is no connection to the distribution node', { cause });
    }
  }
}

/**
 * Checks a permit before it is used. The administrator's signature names the organisations and this machine, and the
 * credentials name the people who act for an organisation and in which roles. A designer of the owner signs the design
 * and who may print it, an operator of the holder signs the print. Control's signature adds only the object. So a cloud
 * that lies in all of its nodes can refuse to print, but cannot print what the owner did not license.
 * @throws {MillraceError} E_PERMIT, E_SIGNATURE, E_AUTH, E_EXPIRED, E_CLOCK, E_MACHINE_UNKNOWN, E_LICENCE_INVALID,
 *   E_LICENCE_PENDING, E_LICENCE_EXHAUSTED, E_MATERIAL, E_REVOKED, E_FORBIDDEN
 */
export async function checkPermit(
  config: MachineConfig,
  now: number,
  request: { readonly body: PermitRequest; readonly bytes: Bytes },
  answer: PermitAnswer,
  visit?: GrantedVisit,
): Promise<Omit<PermittedSession, 'ephemeral'>> {
  const { directory, machineKey } = config;
  const { body: permit } = await verifyPermitOf(directory, answer.permit, now);
  const refuse = (why: string) => new MillraceError('E_PERMIT', `the permit ${why}`);
  if (permit.machine !== keyName(machineKey.publicKey)) throw refuse('is for another machine');
  if (permit.print !== request.body.print) throw refuse('is for another print');
  if (!equalBytes(permit.request, sha256(request.bytes))) throw refuse('answers another request');

  // A print that has begun is finished even if a key was revoked in the meantime.
  const begins = request.body.from === 0;
  const counting = begins ? directory : ignoringRevocations(directory);
  // The core names the owner; it comes with the stream (licensed-design.ts).
  const owner = partyOf(await verifyCredential(answer.licenceSigner, counting));
  const granted = { transaction: answer.licence, credential: answer.licenceSigner };
  const { body: licence } = await verifyLicence(granted, owner, counting);
  if (toHex(licence.id) !== permit.licence || licence.design !== permit.design)
    throw refuse('came with another licence');
  if (permit.object !== objectId(permit.licence, permit.number)) throw refuse('names another object than its number');
  await requireCredited(owner, permit, licence, answer.credits, counting);
  if (begins) checkValidity(licence, now);
  const core = readCore(answer.core);
  if (!equalBytes(core.coreHash, licence.core)) throw refuse('came with another design');
  const rules = { owner, approvals: core.approvals, directory: counting };
  const amended = await verifyAmendments(answer.licence, answer.amendments, rules);
  requireApproved(amended);
  const { terms } = amended;
  const ordered = { transaction: answer.print, credential: answer.printSigner };
  // A new print must not have expired: an agent that reconnects late must not start its machine unexpectedly.
  const { body: print, signer } = await verifyOrder(amended, ordered, counting, begins ? now : 'begun');
  if (visit !== undefined && !(permit.licence === visit.licence && equalBytes(signer, visit.visitor)))
    throw new MillraceError('E_VISA', 'the visit was requested for another licence, or by somebody else');
  if (print.type !== 'print.request' || toHex(print.id) !== permit.print) throw refuse('came with another print');
  if (print.licence !== permit.licence || print.machine !== permit.machine) throw refuse('differs from its print');
  checkRegistration(config, answer);
  const { machine, membership } = answer;
  await requireLicensed(machine, permit.machine, terms, { cloud: visit?.home, membership, directory: counting });
  checkRequest(request.body, answer.machine, terms);
  const { load } = request.body;
  const visiting = visit && { cloud: visit.home, load: load && sha256(load), signers: answer.signers };
  await requireMaterial(request.body, answer.machine, terms, { directory, now, begins, visiting });
  return {
    permit,
    permitId: toHex(permit.id),
    licence: terms,
    owner,
    openingHash: openingHash({ ...answer, request: request.bytes }),
  };
}

/**
 * An object beyond those granted needs the owner's credits of as many failed objects, by decisions or by the licence's
 * policy.
 * @throws {MillraceError} E_LICENCE_EXHAUSTED, E_CREDITED (this object is one of them), as `verifyCreditOf`
 */
async function requireCredited(
  owner: Party,
  { number, object }: Permit,
  licence: TransactionOf<'licence.grant'>,
  credits: readonly Attested[],
  directory: Parameters<typeof verifyCreditOf>[2],
): Promise<void> {
  if (number <= licence.objects) return;
  const [decided, byPolicy] = [new Set<string>(), new Set<string>()];
  for (const credit of credits) {
    const { object: failed, failure } = await verifyCreditOf(owner, credit, directory, licence);
    (failure === undefined ? decided : byPolicy).add(failed);
  }
  const failed = new Set([...decided, ...byPolicy]);
  if (failed.has(object)) throw new MillraceError('E_CREDITED', `object ${object} was credited`, { data: { object } });
  const allowed = licence.objects + Math.min(failed.size, decided.size + (licence.creditPolicy?.most ?? 0));
  if (number > allowed)
    throw new MillraceError('E_LICENCE_EXHAUSTED', 'the permit is beyond the licence and the credits of its owner');
}

/** Only a new print needs a valid licence. A continued print may outlast it. */
export function checkValidity({ notBefore, notAfter }: TransactionOf<'licence.grant'>, now: number): void {
  if (now + CLOCK_SKEW_MS < notBefore) throw new MillraceError('E_LICENCE_INVALID', 'the licence is not valid yet');
  if (now - CLOCK_SKEW_MS > notAfter) throw new MillraceError('E_EXPIRED', 'the licence has expired');
}

export function checkRegistration(
  { machineKey, serial, kind }: MachineConfig,
  { machine }: Pick<PermitAnswer, 'machine'>,
): void {
  if (!equalBytes(machine.publicKey, machineKey.publicKey) || machine.serial !== serial || machine.kind !== kind) {
    throw new MillraceError('E_MACHINE_UNKNOWN', 'the machine is registered with another key, serial number or kind');
  }
}
