import { isIP } from 'node:net';
import { controlRoutes, createApiClient } from '@millrace/api';
import {
  type Bytes,
  type Clock,
  equalBytes,
  fromBase64,
  type Logger,
  MillraceError,
  type RandomSource,
  sleep,
  toBase64,
  toMillraceError,
} from '@millrace/base';
import type { MachineKey, TokenIdentity } from '@millrace/identity';
import type { NewToken } from '@millrace/machine/admin';
import {
  type Address,
  createHttpClient,
  makeOffer,
  newPairingCode,
  openAnswer,
  PAIRING_CODE_MS,
  type PairingAnswer,
  type PairingKeys,
  pairingKeys,
  readAnswer,
  type VerifiedPairing,
  verifyPairing,
  verifySigned,
} from '@millrace/protocol';
import { leaveFormerCloud } from './former-cloud.ts';
import {
  type AcceptedPairing,
  forgetCloud,
  type MachineKeys,
  openMachineKeys,
  readAccepted,
  writeAccepted,
  writeAdmission,
} from './machine-folder.ts';

/** Interval between calls to control, ms. */
const EVERY_MS = 2_000;

/** What a machine that is not paired yet waits for. */
export type PairingStep =
  /** The operator enters the code. */
  | { readonly step: 'code'; readonly code: string; readonly expires: number }
  /** The administrator admits the machine. */
  | { readonly step: 'admission'; readonly name: string; readonly by: string };

export interface PairOptions {
  /** The machine's folder. */
  readonly folder: string;
  /** Address of the cloud's control node. All that the agent knows of the cloud; not trusted. */
  readonly cloud: Address;
  readonly everyMs?: number | undefined;
  /** Another machine of the same agent: it uses a small matrix. */
  readonly additional?: boolean | undefined;
  /** Where the identity key is made, if there is none yet. By default, in a file. */
  readonly token?: NewToken | undefined;
}

export interface PairModules {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly signal: AbortSignal;
  onStep(step: PairingStep): void;
  /** The machine's keys are open. */
  onKey(key: MachineKey): void;
  /** Whether control answers. */
  onCloud(error: MillraceError | undefined): void;
}

/** Not an answer of control: this computer or its token does not work. */
const fatal: readonly string[] = ['E_STORE', 'E_CONFIG', 'E_HSM'];

type Pairings = ReturnType<typeof guestOf>['pairings'];

/** A code with the keys derived from it, and the offer that control holds for it. */
interface Shown {
  readonly keys: PairingKeys;
  readonly offer: Bytes;
  readonly expires: number;
}

/**
 * Pairs a machine with a cloud (spec/pairing.md): shows codes until an operator has entered one, then waits until the
 * administrator has admitted the machine. Continues where it was when it is started again.
 * @throws the reason of `signal`; {MillraceError} E_STORE, E_CONFIG, E_HSM, E_PIN
 */
export async function pair(options: PairOptions, modules: PairModules): Promise<void> {
  const { folder, cloud, everyMs = EVERY_MS } = options;
  const { logger, signal } = modules;
  const keys = await openMachineKeys(folder, options.token);
  const guest = guestOf(cloud);
  try {
    modules.onKey(keys.identity);
    let accepted = await readAccepted(folder);
    let shown: Shown | undefined;
    for (;;) {
      signal.throwIfAborted();
      try {
        if (accepted === undefined) {
          shown ??= await showCode(keys, modules);
          accepted = await askForAnswer(shown, folder, keys, guest.pairings, modules);
          if (accepted === undefined && modules.clock.now() > shown.expires) shown = undefined;
        } else if (await askForCertificate(accepted, options, keys, guest, modules)) return;
        modules.onCloud(undefined);
      } catch (cause) {
        signal.throwIfAborted();
        const error = toMillraceError(cause);
        if (fatal.includes(error.code)) throw error;
        modules.onCloud(error.retryable ? error : undefined);
        if (error.retryable || error.code === 'E_QUOTA')
          logger.warn({ err: error }, 'cannot ask control for the pairing; trying again');
        else if (accepted === undefined) {
          logger.error({ err: error }, 'pairing refused; the next code replaces this one');
          shown = undefined;
        } else if (error.code === 'E_EXPIRED') {
          logger.error({ err: error }, 'the administrator did not admit the machine in time; showing a new code');
          await forgetCloud(folder);
          accepted = undefined;
        } else logger.error({ err: error }, 'the admission is not valid; waiting for another');
      }
      await sleep(everyMs, signal);
    }
  } finally {
    guest.close();
    keys.close();
  }
}

/** Control, reached without a certificate. What it sends is verified. */
function guestOf(cloud: Address) {
  const transport = createHttpClient({ addresses: () => [cloud], tls: { directory: undefined } });
  const { pairings, directory } = createApiClient(controlRoutes, { transport });
  return { pairings, directory, close: () => transport.close() };
}

async function showCode(
  { identity, tlsPublic }: MachineKeys,
  { clock, random, logger, onStep }: PairModules,
): Promise<Shown> {
  const code = newPairingCode(random);
  const expires = clock.now() + PAIRING_CODE_MS;
  const keys = await pairingKeys(code);
  const offer = await makeOffer(keys, identity, { tlsKey: tlsPublic, expires });
  // The code authenticates the keys of this agent and opens nothing else. Whoever reads this log is at the site.
  logger.info({ code, expires: new Date(expires).toISOString() }, 'enter this code: `millrace machine pair CODE`');
  onStep({ step: 'code', code, expires });
  return { keys, offer, expires };
}

/** @returns the answer, once an operator has entered the code @throws {MillraceError} if somebody else has answered */
async function askForAnswer(
  { keys, offer }: Shown,
  folder: string,
  own: MachineKeys,
  pairings: Pairings,
  modules: PairModules,
): Promise<AcceptedPairing | undefined> {
  const { signal, logger } = modules;
  const { answer: given } = await pairings.offer({ id: keys.id, body: { offer: toBase64(offer) } }, { signal });
  if (given === undefined) return undefined;
  const answer = fromBase64(given);
  const { by, pairing } = await verified(openAnswer(keys, offer, answer), own, modules);
  const accepted = { id: keys.id, offer, answer };
  await writeAccepted(folder, accepted);
  logger.info({ by, name: pairing.name, serial: pairing.machine.serial }, 'paired; the administrator has to admit it');
  return accepted;
}

/** @returns whether the machine was admitted */
async function askForCertificate(
  { id, offer, answer }: AcceptedPairing,
  { folder, cloud, additional = false }: PairOptions,
  own: MachineKeys,
  { pairings, directory }: Pick<ReturnType<typeof guestOf>, 'pairings' | 'directory'>,
  modules: PairModules,
): Promise<boolean> {
  const { clock, signal, logger, onStep } = modules;
  const read = readAnswer(answer);
  const { pairing, by } = await verified(read, own, modules);
  onStep({ step: 'admission', name: pairing.name, by: nameOf(by) });
  const body = { offer: toBase64(offer), answer: toBase64(answer) };
  const { certificate } = await pairings.offer({ id, body }, { signal });
  if (certificate === undefined) return false;
  const signed = verifySigned(await directory.newest({ after: 0 }, { signal }), read);
  if (signed.directory.sequence < read.directory)
    throw new MillraceError('E_DIRECTORY', 'control sends a directory that is older than the pairing');
  const distribution = reachable(read.distribution, cloud);
  const admission = { pairing, answer: read, certificate, directory: signed, distribution, additional };
  await leaveFormerCloud(folder, read.installation, modules);
  await writeAdmission(folder, own, admission, clock.now());
  logger.info({ name: pairing.name, machine: pairing.machine.machine }, 'admitted: the agent starts');
  return true;
}

/** @throws {MillraceError} E_AUTH if the pairing is about other keys than those of this machine, or another token */
async function verified(answer: PairingAnswer, own: MachineKeys, { clock }: PairModules): Promise<VerifiedPairing> {
  const found = await verifyPairing(answer, answer, clock.now());
  const { machine, tlsKey } = found.pairing;
  if (!equalBytes(machine.publicKey, own.identity.publicKey) || !equalBytes(tlsKey, own.tlsPublic))
    throw new MillraceError('E_AUTH', 'the operator has signed other keys than those of this agent');
  if (!isSameToken(machine.token, own.identity.token?.identity))
    throw new MillraceError('E_AUTH', 'the operator has signed that the key is in another token, or in a file');
  return found;
}

/** The certificates of objects state the grade of the key: nobody may state another one than the agent. */
function isSameToken(stated: TokenIdentity | undefined, own: TokenIdentity | undefined): boolean {
  if (stated === undefined || own === undefined) return stated === own;
  const { manufacturer, model, serial, hardware } = own;
  return (
    stated.manufacturer === manufacturer &&
    stated.model === model &&
    stated.serial === serial &&
    stated.hardware === hardware
  );
}

const nameOf = ({ name, organisation }: VerifiedPairing['by']): string =>
  organisation === undefined ? name : `${name} (${organisation})`;

/** An operator on the cloud's own computer knows its nodes by a loopback address. */
function reachable(distribution: Address, cloud: Address): Address {
  const { host, port } = distribution;
  const loopback = host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
  return loopback ? { host: cloud.host, port } : distribution;
}
