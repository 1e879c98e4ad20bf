import { type Bytes, fromBase64, fromHex, MillraceError } from '@millrace/base';
import { type Authority, keyName } from '@millrace/identity';
import {
  ADMIT_WITHIN_MS,
  type Address,
  type Machine,
  makeAnswer,
  openOffer,
  pairingKeys,
  readAnswer,
  signPairing,
  type VerifiedPairing,
  verifyPairing,
} from '@millrace/protocol';
import type { Session } from '../session.ts';
import { signNew } from '../transactions.ts';

// Pairing of an agent with this cloud (spec/pairing.md).

/** What the operator states about a machine. */
export interface PairingTerms extends Pick<Machine, 'serial' | 'kind' | 'profile'> {
  /** Name of the machine at the site. */
  readonly name: string;
  readonly material: string;
  /** Settings of the driver. */
  readonly driver: Readonly<Record<string, unknown>>;
}

export interface PairedMachine {
  /** Names the pairing at control. */
  readonly pairing: string;
  readonly machine: Machine;
}

/**
 * Enters the code that an agent shows: verifies the agent's keys with it, signs the pairing, and tells the agent which
 * cloud to trust.
 * @param cloud minimum number of the directory, and where agents connect
 * @throws {MillraceError} E_INPUT, E_NOT_FOUND, E_RATE, E_AUTH if the keys were exchanged on the way, E_EXPIRED,
 * E_CONFLICT if the code was used
 */
export async function pairMachine(
  session: Session,
  code: string,
  { name, material, driver, ...terms }: PairingTerms,
  cloud: { readonly directory: number; readonly distribution: Address },
): Promise<PairedMachine> {
  const { api, signer, directory, clock, random } = session;
  const keys = await pairingKeys(code);
  const { offer } = await api.pairing(keys.id);
  const now = clock.now();
  const { publicKey, tlsKey, token } = openOffer(keys, offer, now);
  const machine: Machine = { machine: keyName(publicKey), publicKey, ...terms, ...(token && { token }) };
  const document = await signPairing(signer, directory.installation, {
    ...{ type: 'machine.pair', id: random(16), issued: now, expires: now + ADMIT_WITHIN_MS },
    ...{ name, machine, tlsKey, material, driver: JSON.stringify(driver) },
  });
  const { installation, adminKey } = directory;
  const credential = await ownCredential(session);
  await api.answerPairing(keys.id, makeAnswer(keys, offer, { ...cloud, installation, adminKey, document, credential }));
  return { pairing: keys.id, machine };
}

/** Empty for the administrator. */
async function ownCredential({ api, signer, directory }: Session): Promise<Bytes> {
  const own = keyName(signer.publicKey);
  if (own === keyName(fromHex(directory.adminKey))) return new Uint8Array();
  return fromBase64((await api.key(own)).credential);
}

export interface OpenPairing extends VerifiedPairing {
  readonly id: string;
}

/** Paired machines that wait for the administrator. Leaves out what no operator of this cloud has signed. */
export async function openPairings({ api, directory, clock }: Session): Promise<OpenPairing[]> {
  const found: OpenPairing[] = [];
  for (const { pairing: id, answer } of await api.pairings()) {
    try {
      found.push({ id, ...(await verifyPairing(readAnswer(fromBase64(answer)), directory, clock.now())) });
    } catch (error) {
      // Anybody can offer a pairing to control.
      if (!(error instanceof MillraceError)) throw error;
    }
  }
  return found;
}

/**
 * Registers a paired machine and gives its agent a TLS certificate.
 * @param expires of the certificate, ms since 1970
 * @throws {MillraceError} E_CONFLICT if another machine is registered with the serial number
 */
export async function admitPairing(
  admin: Session,
  { id, pairing: { machine, tlsKey } }: OpenPairing,
  authority: Authority,
  expires: number,
): Promise<void> {
  const registered = await admin.api.machines();
  if (registered.some((other) => other.serial === machine.serial && other.machine !== machine.machine))
    throw new MillraceError('E_CONFLICT', `there is a machine with the serial number ${machine.serial} already`);
  const transaction = await signNew(admin, { type: 'machine.register', machine });
  await admin.api.submit(transaction.bytes);
  const certificate = await authority.certify({ role: 'machine', name: machine.machine }, tlsKey, expires);
  await admin.api.admitPairing(id, certificate);
}
