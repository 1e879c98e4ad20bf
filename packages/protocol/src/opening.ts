import { type Bytes, copyBytes, encodeCbor, equalBytes, MillraceError, toHex } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { keyId, keyName } from '@millrace/identity';
import { CLOCK_SKEW_MS, type Directory } from './directory.ts';
import {
  type Machine,
  type Permit,
  type PermitRequest,
  type Signed,
  type Transaction,
  type TransactionOf,
  verifyMachineDocument,
  verifyTransaction,
} from './documents.ts';
import { verifyPermitOf } from './permit-keys.ts';
import { requireCounting } from './revoked.ts';

export { sha256 };

/** SHA-256 of a machine's registration in deterministic CBOR, as contained in licences. */
export function registrationHash(machine: Machine): Bytes {
  return sha256(encodeCbor(machine));
}

/** All documents that authorise one stream, as sent by control to the proactive nodes. */
export interface Opening {
  readonly permit: Uint8Array;
  readonly request: Uint8Array;
  readonly print: Uint8Array;
  readonly licence: Uint8Array;
  readonly machine: Machine;
}

export interface VerifiedOpening {
  readonly permit: Permit;
  readonly request: PermitRequest;
  readonly licence: TransactionOf<'licence.grant'>;
  readonly machine: Machine;
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
}

/** Owner and content of a design. */
export interface DesignAuthority {
  /** Public key, 33 bytes. */
  readonly owner: Bytes;
  /** SHA-256 of the design's core. */
  readonly coreHash: Bytes;
}

/**
 * Checks that the segments node and the keys node each make: owner → licence → holder → print → machine → request →
 * permit. They trust the control node for the permit only, which only control can sign. The ages of the print and the
 * licence are checked only when the object begins.
 * @throws {MillraceError} the code of the first check that fails
 */
export async function verifyOpening(opening: Opening, context: OpeningContext): Promise<VerifiedOpening> {
  const { directory, now } = context;
  const { installation } = directory;
  const { body: permit } = await verifyPermitOf(directory, opening.permit, now);

  const design = await context.designOf(permit.design);
  if (design === undefined) throw new MillraceError('E_NOT_FOUND', 'the design of this permit is not stored');
  const licence = await verifyLicence(opening.licence, directory, design.owner);
  if (!equalBytes(licence.body.core, design.coreHash))
    throw new MillraceError('E_LICENCE_INVALID', 'the licence is for different content of the design');
  if (toHex(licence.body.id) !== permit.licence || licence.body.design !== permit.design) {
    throw new MillraceError('E_PERMIT', 'the permit belongs to another licence');
  }
  if (permit.number > licence.body.objects)
    throw new MillraceError('E_LICENCE_EXHAUSTED', 'the permit exceeds the licence');
  if (permit.object !== objectId(permit.licence, permit.number))
    throw new MillraceError('E_PERMIT', 'the object does not match the permit');

  const begins = !(await context.begun(permit.object));
  const { holder } = licence.body;
  if (begins) {
    requireValidity(licence.body, now);
    // An object that has begun is finished, even if a signer's key was revoked meanwhile.
    requireCounting(directory, keyName(design.owner), opening.licence);
    requireCounting(directory, keyName(holder), opening.print);
  }
  const print = await verifyTransaction(
    opening.print,
    installation,
    (id) => (equalBytes(id, keyId(holder)) ? copyBytes(holder) : undefined),
    begins ? now : 'any time',
  );
  if (print.body.type !== 'print.request' || toHex(print.body.id) !== permit.print) {
    throw new MillraceError('E_PERMIT', 'the permit belongs to another print');
  }
  if (print.body.licence !== permit.licence || print.body.machine !== permit.machine) {
    throw new MillraceError('E_PERMIT', 'print and permit differ');
  }

  const machine = checkMachine(opening.machine, permit.machine, licence.body);
  const request = await verifyMachineDocument(
    opening.request,
    installation,
    (id) => (equalBytes(id, keyId(machine.publicKey)) ? copyBytes(machine.publicKey) : undefined),
    now,
  );
  if (request.body.type !== 'permit.request' || !equalBytes(sha256(opening.request), permit.request)) {
    throw new MillraceError('E_PERMIT', 'the permit answers another request');
  }
  checkRequest(request.body, machine, licence.body);
  if (request.body.print !== permit.print) throw new MillraceError('E_PERMIT', 'the request belongs to another print');
  return {
    permit,
    request: request.body,
    licence: licence.body,
    machine,
    hash: sha256(sha256(opening.permit), sha256(opening.request), sha256(opening.print), sha256(opening.licence)),
  };
}

export function objectId(licence: string, number: number): string {
  return `${licence}-${number}`;
}

/** Id of the licence, which is the first part of an object's name. */
export function licenceOf(object: string): string {
  return object.slice(0, object.lastIndexOf('-'));
}

/** Verifies a licence signed by the design's owner. The document's expiry limits its delivery, not its validity. */
export async function verifyLicence(
  bytes: Uint8Array,
  directory: Directory,
  owner: Bytes,
): Promise<Signed<TransactionOf<'licence.grant'>>> {
  const lookup = (id: Bytes) => (equalBytes(id, keyId(owner)) ? owner : undefined);
  const { body, signer } = await verifyTransaction(bytes, directory.installation, lookup, 'any time');
  if (body.type !== 'licence.grant') throw new MillraceError('E_LICENCE_INVALID', 'not a licence');
  return { body, signer, bytes: copyBytes(bytes) };
}

/**
 * Verifies a transaction signed by this key. Its age is not checked, because it may have waited in the mailbox past its
 * expiry. If the key has been revoked, the transaction counts only if the revocation keeps it.
 * @throws {MillraceError} E_SIGNATURE, E_AUTH (another signer), E_INPUT, E_REVOKED
 */
export async function verifyTransactionBy(
  key: Bytes,
  bytes: Uint8Array,
  directory: Pick<Directory, 'installation' | 'revocations'>,
): Promise<Signed<Transaction>> {
  const lookup = (id: Bytes) => (equalBytes(id, keyId(key)) ? key : undefined);
  const signed = await verifyTransaction(bytes, directory.installation, lookup, 'any time');
  requireCounting(directory, keyName(key), bytes);
  return signed;
}

/** Checks the period in which objects may begin. @throws {MillraceError} E_LICENCE_INVALID, E_EXPIRED */
function requireValidity({ notBefore, notAfter }: TransactionOf<'licence.grant'>, now: number): void {
  if (now < notBefore - CLOCK_SKEW_MS) throw new MillraceError('E_LICENCE_INVALID', 'the licence is not valid yet');
  if (now > notAfter + CLOCK_SKEW_MS) throw new MillraceError('E_EXPIRED', 'the licence has expired');
}

/** @throws {MillraceError} E_MACHINE_UNKNOWN, E_LICENCE_INVALID */
export function checkMachine(machine: Machine, id: string, licence: TransactionOf<'licence.grant'>): Machine {
  if (machine.machine !== id || keyName(machine.publicKey) !== id) {
    throw new MillraceError('E_MACHINE_UNKNOWN', 'the machine’s key differs from its registration');
  }
  const named = licence.machines.find((entry) => entry.machine === id);
  if (named === undefined) throw new MillraceError('E_LICENCE_INVALID', 'the licence does not name this machine');
  if (!equalBytes(named.registration, registrationHash(machine))) {
    throw new MillraceError('E_LICENCE_INVALID', 'the machine’s registration differs from the one in the licence');
  }
  return machine;
}

/** @throws {MillraceError} E_MACHINE_UNKNOWN, E_MATERIAL */
export function checkRequest(request: PermitRequest, machine: Machine, licence: TransactionOf<'licence.grant'>): void {
  if (request.serial !== machine.serial)
    throw new MillraceError('E_MACHINE_UNKNOWN', 'the serial number differs from the registration');
  if (licence.materials.length > 0 && !licence.materials.includes(request.material)) {
    throw new MillraceError(
      'E_MATERIAL',
      `the licence allows ${licence.materials.join(', ')}; ${request.material} is loaded`,
    );
  }
}
