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
import { generateP256Key, keyId, keyName, type P256Key } from '@millrace/identity';
import {
  CLOCK_SKEW_MS,
  checkMachine,
  checkRequest,
  objectId,
  type Permit,
  type PermitRequest,
  requireCounting,
  sha256,
  signMachineDocument,
  type TransactionOf,
  verifyDesigner,
  verifyLicence,
  verifyPermitOf,
  verifyTransaction,
} from '@millrace/protocol';
import type { CloudLink } from './cloud-link.ts';
import type { MachineConfig } from './config.ts';
import { type ControlCalls, isPassing, type PermitAnswer } from './control-calls.ts';
import type { Level } from './matrix-level.ts';
import type { Timing } from './timing.ts';

/** Time during which a signed request may be repeated. */
const REQUEST_MS = 10 * 60_000;
/** Maximum number of requests: control may record one and fail before it answers. */
const ATTEMPTS = 3;

/** A verified permit, and the data that its session is bound to. */
export interface PermittedSession {
  readonly permit: Permit;
  /** The keys node's offer carries this id. */
  readonly permitId: string;
  readonly openingHash: Bytes;
  /** The licence, as the owner signed it. */
  readonly licence: TransactionOf<'licence.grant'>;
  readonly owner: Bytes;
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
  readonly calls: ControlCalls;
  readonly link: CloudLink;
  readonly refreshRevocations: (signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly timing: Timing;
  readonly giveUpMs: number;
}

/**
 * Asks control for a permit. If the answer is lost, the same signed request is sent again and gets the same answer, so
 * a lost answer costs no object.
 * @throws {MillraceError} the code of control's refusal; E_PERMIT if the permit is for another request; E_STARVED
 */
export async function callHome(
  options: CallHomeOptions,
  wanted: Wanted,
  signal: AbortSignal,
): Promise<PermittedSession> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await callOnce(options, wanted, signal);
    } catch (error) {
      // Control recorded the request and failed before it answered. A new request of the same run gets the same permit.
      const noted = error instanceof MillraceError && error.code === 'E_REPLAY';
      if (!noted || attempt === ATTEMPTS) throw error;
    }
  }
}

async function callOnce(options: CallHomeOptions, wanted: Wanted, signal: AbortSignal): Promise<PermittedSession> {
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
      material: config.material,
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
    const answer = await ask(options, request, signal);
    await refreshing;
    return { ...(await checkPermit(config, clock.now(), { body, bytes: request }, answer)), ephemeral };
  } catch (error) {
    ephemeral.close();
    throw error;
  }
}

async function ask(options: CallHomeOptions, request: Bytes, signal: AbortSignal): Promise<PermitAnswer> {
  const { clock, timing, giveUpMs, calls, link } = options;
  const backoff = new Backoff(timing.backoff);
  const began = clock.monotonic();
  for (;;) {
    const left = giveUpMs - (clock.monotonic() - began);
    if (left <= 0) throw new MillraceError('E_STARVED', 'control does not answer');
    await connected(link, left, signal);
    try {
      return await calls.callHome(request, signal);
    } catch (error) {
      if (signal.aborted || !isPassing(error)) throw error;
    }
    await sleep(backoff.next(), signal);
  }
}

async function connected(link: CloudLink, patienceMs: number, signal: AbortSignal): Promise<void> {
  const patience = AbortSignal.timeout(Math.min(Math.ceil(patienceMs), 2 ** 31 - 1));
  try {
    await link.whenConnected(AbortSignal.any([signal, patience]));
  } catch (error) {
    signal.throwIfAborted();
    throw new MillraceError('E_STARVED', 'there is no connection to the distribution node', { cause: error });
  }
}

/**
 * Checks a permit before it is used. The administrator's signature names the owner and this machine. The owner's
 * signature names the design and who may print it. Control's signature adds only the object. So a cloud that lies in
 * all of its nodes can refuse to print, but cannot print what the owner did not license.
 * @throws {MillraceError} E_PERMIT, E_SIGNATURE, E_AUTH, E_EXPIRED, E_CLOCK, E_MACHINE_UNKNOWN, E_LICENCE_INVALID,
 *   E_LICENCE_EXHAUSTED, E_MATERIAL, E_REVOKED, E_FORBIDDEN
 */
export async function checkPermit(
  config: MachineConfig,
  now: number,
  request: { readonly body: PermitRequest; readonly bytes: Bytes },
  answer: PermitAnswer,
): Promise<Omit<PermittedSession, 'ephemeral'>> {
  const { directory, machineKey } = config;
  const { body: permit } = await verifyPermitOf(directory, answer.permit, now);
  const refuse = (why: string) => new MillraceError('E_PERMIT', `the permit ${why}`);
  if (permit.machine !== keyName(machineKey.publicKey)) throw refuse('is for another machine');
  if (permit.print !== request.body.print) throw refuse('is for another print');
  if (!equalBytes(permit.request, sha256(request.bytes))) throw refuse('answers another request');

  // A print that has begun is finished even if a key was revoked in the meantime.
  const begins = request.body.from === 0;
  const { installation, adminKey } = directory;
  const owner = await verifyDesigner(answer.owner, begins ? directory : { installation, adminKey });
  const { body: licence } = await verifyLicence(answer.licence, directory, owner);
  if (toHex(licence.id) !== permit.licence || licence.design !== permit.design)
    throw refuse('came with another licence');
  if (permit.object !== objectId(permit.licence, permit.number)) throw refuse('names another object than its number');
  if (permit.number > licence.objects)
    throw new MillraceError('E_LICENCE_EXHAUSTED', 'the permit is beyond the licence');
  const { holder } = licence;
  if (begins) {
    checkValidity(licence, now);
    requireCounting(directory, keyName(owner), answer.licence);
    requireCounting(directory, keyName(holder), answer.print);
  }
  const holderKey = (id: Bytes) => (equalBytes(id, keyId(holder)) ? copyBytes(holder) : undefined);
  // A new print must not have expired: an agent that reconnects late must not start its machine unexpectedly.
  const { body: print } = await verifyTransaction(answer.print, installation, holderKey, begins ? now : 'any time');
  if (print.type !== 'print.request' || toHex(print.id) !== permit.print) throw refuse('came with another print');
  if (print.licence !== permit.licence || print.machine !== permit.machine) throw refuse('differs from its print');
  checkRegistration(config, answer);
  checkMachine(answer.machine, permit.machine, licence);
  checkRequest(request.body, answer.machine, licence);
  return {
    permit,
    permitId: toHex(permit.id),
    licence,
    owner,
    openingHash: sha256(sha256(answer.permit), sha256(request.bytes), sha256(answer.print), sha256(answer.licence)),
  };
}

/** Only a new print needs a valid licence. A continued print may outlast it. */
function checkValidity({ notBefore, notAfter }: TransactionOf<'licence.grant'>, now: number): void {
  if (now + CLOCK_SKEW_MS < notBefore) throw new MillraceError('E_LICENCE_INVALID', 'the licence is not valid yet');
  if (now - CLOCK_SKEW_MS > notAfter) throw new MillraceError('E_EXPIRED', 'the licence has expired');
}

function checkRegistration({ machineKey, serial, kind }: MachineConfig, { machine }: PermitAnswer): void {
  if (!equalBytes(machine.publicKey, machineKey.publicKey) || machine.serial !== serial || machine.kind !== kind) {
    throw new MillraceError('E_MACHINE_UNKNOWN', 'the machine is registered with another key, serial number or kind');
  }
}
