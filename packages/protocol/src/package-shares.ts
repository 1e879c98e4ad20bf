import { type Bytes, concatBytes, equalBytes, fromHex, hkdf, MillraceError, utf8, wipe } from '@millrace/base';
import { isP256Point } from '@millrace/base/crypto';
import { type AgreementKey, keyId, keyName, type P256Key, seal, unseal, unsealByAgreement } from '@millrace/identity';
import type { z } from 'zod';
import { onlyKey, type TransactionOf, verifyMachineDocument } from './documents.ts';
import type { licensedPackage } from './package-documents.ts';
import { openBySome, type SecretBinding } from './sealed-keys.ts';

// The key of a job package and the shares that it is derived from (spec/packages.md, 2 and 3).

export type LicensedPackage = z.output<typeof licensedPackage>;

/** Who opens a sealed share. */
export type ShareHolder = 'driver' | 'machine' | 'segments';
/** The proactive nodes. Each releases its share for a permit. */
export type ReleasingRole = 'keys' | 'segments';

/** Every share, 32 bytes each. */
export interface PackageShares {
  readonly driver: Uint8Array;
  readonly machine: Uint8Array;
  /** The online share: one half of each proactive node. */
  readonly keys: Uint8Array;
  readonly segments: Uint8Array;
}

const SHARE_BYTES = 32;
const NONE = new Uint8Array();

function bindingBytes({ installation, licence, design }: SecretBinding): Bytes {
  return concatBytes(fromHex(installation), fromHex(licence), fromHex(design));
}

function shareInfo(holder: ShareHolder, binding: SecretBinding, recipient: Uint8Array): Bytes {
  return concatBytes(utf8(`millrace/v1/package-share/${holder}/`), bindingBytes(binding), keyId(recipient));
}

/** Owner: seals one share. @param recipient P-256 point of the driver, the machine or the segments node */
export function sealPackageShare(
  holder: ShareHolder,
  recipient: Uint8Array,
  binding: SecretBinding,
  share: Uint8Array,
): Promise<Bytes> {
  return seal(recipient, shareInfo(holder, binding, recipient), share);
}

/**
 * The share that is sealed to one of several segments nodes.
 * @param identity P-256 point of the node
 * @returns undefined if it is sealed to others. A licence for an installation with one node names none
 */
export function shareForNode({ shares }: LicensedPackage, identity: Uint8Array): Bytes | undefined {
  if (shares.nodes === undefined) return shares.segments;
  const name = keyName(identity);
  return shares.nodes.find(({ key }) => key === name)?.share;
}

/** The share, 32 bytes; the caller wipes it. @throws {MillraceError} E_SEAL */
export async function openPackageShare(
  holder: ShareHolder,
  key: AgreementKey,
  binding: SecretBinding,
  sealed: Uint8Array,
): Promise<Bytes> {
  return ofLength(await unsealByAgreement(key, shareInfo(holder, binding, key.publicKey), sealed));
}

/** The share of the keys node, 32 bytes, from the licence's secret. The caller wipes it. */
export function keysShareOf(licenceSecret: Uint8Array, binding: SecretBinding): Bytes {
  return hkdf([licenceSecret], bindingBytes(binding), utf8('millrace/v1/package-keys-share'));
}

/**
 * Derives the key of a package from all shares (HKDF-SHA-256).
 * @returns 32 bytes, the caller wipes them
 * @throws {MillraceError} E_SEAL for a share of another length
 */
export function packageKey({ driver, machine, keys, segments }: PackageShares, binding: SecretBinding): Bytes {
  const shares = [driver, machine, keys, segments].map(ofLength);
  return hkdf(shares, bindingBytes(binding), utf8('millrace/v1/package-key'));
}

/** Commits to the package's key, because AES-GCM does not. */
export function packageCommitment(key: Uint8Array): Bytes {
  return hkdf([key], NONE, utf8('millrace/v1/package-commitment'));
}

/**
 * The key of the licensed package.
 * @returns 32 bytes, the caller wipes them
 * @throws {MillraceError} E_SEAL unless these are the shares to which the owner committed
 */
export function openPackageKey(shares: PackageShares, { commitment }: LicensedPackage, binding: SecretBinding): Bytes {
  const key = packageKey(shares, binding);
  if (equalBytes(packageCommitment(key), commitment)) return key;
  wipe(key);
  throw new MillraceError('E_SEAL', 'these shares do not open the job package');
}

/** One permitted opening, by the hash of its documents. */
export interface ReleaseBinding {
  readonly role: ReleasingRole;
  readonly openingHash: Uint8Array;
}

function releaseInfo({ role, openingHash }: ReleaseBinding): Bytes {
  return concatBytes(utf8(`millrace/v1/package-release/${role}/`), openingHash);
}

/**
 * Proactive node: seals its share to the ephemeral key of the permit request (HPKE, auth mode).
 * @param sender the node's identity
 */
export function sealRelease(
  sender: P256Key,
  ephemeral: Uint8Array,
  binding: ReleaseBinding,
  share: Uint8Array,
): Promise<Bytes> {
  return seal(ephemeral, releaseInfo(binding), share, { sender });
}

/**
 * Driver: opens the share that a node has released.
 * @param senders the identities of the nodes of this role in the directory
 * @returns 32 bytes, the caller wipes them
 * @throws {MillraceError} E_SEAL for another permit, another key or another sender
 */
export async function openRelease(
  ephemeral: P256Key,
  senders: readonly Uint8Array[],
  binding: ReleaseBinding,
  sealed: Uint8Array,
): Promise<Bytes> {
  return ofLength(await openBySome(senders, (sender) => unseal(ephemeral, releaseInfo(binding), sealed, { sender })));
}

/**
 * Verifies the key of a driver.
 * @param machine public key of the machine that the driver drives
 * @returns the driver's P-256 point, 65 bytes
 * @throws {MillraceError} E_PACKAGE_MACHINE (another machine signed it), E_SIGNATURE, E_EXPIRED, E_CLOCK, E_INPUT
 */
export async function verifyDriverKey(
  document: Uint8Array,
  installation: string,
  machine: Uint8Array,
  now: number,
): Promise<Bytes> {
  try {
    const { body } = await verifyMachineDocument(document, installation, onlyKey(machine), now);
    if (body.type !== 'driver.key' || !isP256Point(body.driver))
      throw new MillraceError('E_INPUT', 'this document is not the key of a driver');
    return new Uint8Array(body.driver);
  } catch (cause) {
    if (!(cause instanceof MillraceError && cause.code === 'E_AUTH')) throw cause;
    throw new MillraceError('E_PACKAGE_MACHINE', 'the key is of a driver of another machine', { cause });
  }
}

/** Machine and package of a licence. @throws {MillraceError} E_PACKAGE if the licence is not for packages */
export function packagedMachine({ package: packaged, machines }: TransactionOf<'licence.grant'>): {
  readonly machine: string;
  readonly packaged: LicensedPackage;
} {
  const [machine] = machines;
  if (packaged === undefined || machine === undefined)
    throw new MillraceError('E_PACKAGE', 'the licence is not for job packages');
  return { machine: machine.machine, packaged };
}

function ofLength<T extends Uint8Array>(share: T): T {
  if (share.length === SHARE_BYTES) return share;
  wipe(share);
  throw new MillraceError('E_SEAL', `a share has ${SHARE_BYTES} bytes`);
}
