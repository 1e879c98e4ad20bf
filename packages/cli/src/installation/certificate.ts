import { join } from 'node:path';
import { type Clock, MillraceError, type RandomSource, utf8, writeDurably } from '@millrace/base';
import { requestCertificate } from '@millrace/client';
import { certificatesOf, expiryOf, isIssuedBy, tlsPublicKey } from '@millrace/identity';
import { type Addresses, addressesOf, createHttpClient, type Directory } from '@millrace/protocol';
import { userFiles } from './layout.ts';
import type { InstallationUser } from './open.ts';

/** A certificate is renewed if its remaining validity is below this, ms. */
const DUE_MS = 10 * 86_400_000;

export interface RenewalOptions {
  readonly user: InstallationUser;
  readonly directory: Directory;
  readonly addresses: Addresses;
  readonly clock: Clock;
  readonly random: RandomSource;
}

/**
 * Renews a user's certificate issued by control, before or after its expiry; `millrace up` renews the others. A revoked
 * key gets no certificate.
 * @throws {MillraceError} E_REVOKED, E_EXPIRED; while the certificate is valid, other errors are ignored and the
 *   renewal is tried again later
 */
export async function renewCertificate({ user, directory, addresses, clock, random }: RenewalOptions): Promise<void> {
  const { certificate } = user.tls;
  const left = expiryOf(certificate) - clock.now();
  const [newest] = certificatesOf(directory.userAuthority ?? '');
  if (newest === undefined || certificatesOf(directory.authority).some((issuer) => isIssuedBy(certificate, issuer)))
    return;
  // A certificate of an authority that was replaced is accepted for some days at most.
  const isCurrent = isIssuedBy(certificate, newest) && expiryOf(newest) > clock.now();
  if (isCurrent && left > DUE_MS) return;
  const control = createHttpClient({
    addresses: () => addressesOf(directory, 'control', () => addresses.control),
    tls: { directory },
  });
  try {
    const enrolling = { control, directory, signer: user.signer, clock, random };
    const renewed = await requestCertificate(enrolling, tlsPublicKey(utf8(certificate)));
    await writeDurably(join(user.folder, userFiles.certificate), renewed, 0o644);
    await user.refresh();
  } catch (error) {
    const refused = error instanceof MillraceError && !error.retryable;
    if (refused || left <= 0) throw error;
  } finally {
    control.close();
  }
}
