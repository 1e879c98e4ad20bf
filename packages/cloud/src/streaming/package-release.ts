import { type Bytes, type Logger, MillraceError, toHex } from '@millrace/base';
import type { P256Key } from '@millrace/identity';
import {
  type Directory,
  encodeControl,
  type LicensedPackage,
  type Opening,
  openPackageShare,
  type ReleasingRole,
  readTransaction,
  type SecretBinding,
  sealRelease,
  shareForNode,
  type VerifiedOpening,
} from '@millrace/protocol';
import type { DistributionLink } from '../node/distribution-links.ts';
import { NO_LINK, sendWhenConnected } from './send-when-connected.ts';

/** Context of the shares of an opening's package. */
export function packageBinding({ installation }: Directory, { permit }: VerifiedOpening): SecretBinding {
  return { installation, licence: permit.licence, design: permit.design };
}

/**
 * Opens the segments node's share of a package, 32 bytes; the caller wipes it.
 * @throws {MillraceError} E_PACKAGE_SHARE: it is sealed to another key, for example to the one before a rotation
 */
export async function openOwnShare(
  identity: P256Key,
  binding: SecretBinding,
  packaged: LicensedPackage,
): Promise<Bytes> {
  try {
    const sealed = shareForNode(packaged, identity.publicKey);
    if (sealed === undefined) throw new MillraceError('E_SEAL', 'the share is sealed to other nodes');
    return await openPackageShare('segments', identity, binding, sealed);
  } catch (cause) {
    throw new MillraceError('E_PACKAGE_SHARE', 'the share of the job package is not sealed to the key of this node', {
      cause,
    });
  }
}

/** Whether the licence, which is not verified yet, is for a job package. */
export function isForPackage({ licence }: Opening): boolean {
  try {
    const terms = readTransaction(licence);
    return terms.type === 'licence.grant' && terms.package !== undefined;
  } catch {
    return false; // the verification says what is wrong with it
  }
}

/**
 * Sends this node's share of a job package to the driver, once the permit is counted here. A driver that did not get it
 * calls home again.
 */
export async function releaseShare(
  { identity, link, logger }: { readonly identity: P256Key; readonly link: DistributionLink; readonly logger: Logger },
  role: ReleasingRole,
  { permit, request, link: machine, hash }: VerifiedOpening,
  share: Bytes,
): Promise<void> {
  const sealed = await sealRelease(identity, request.ephemeral, { role, openingHash: hash }, share);
  const { object } = permit;
  const release = encodeControl({ type: 'release', machine, permitId: toHex(permit.id), role, sealed });
  if (await sendWhenConnected(link, release)) logger.info({ object }, 'share of the job package released');
  else logger.warn({ object }, `${NO_LINK}: the driver will call home again`);
}
