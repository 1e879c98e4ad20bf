import { type Bytes, equalBytes, fromHex, MillraceError } from '@millrace/base';
import { keyId } from '@millrace/identity';
import { CLOCK_SKEW_MS, type Directory } from './directory.ts';
import { type Permit, type Signed, verifyPermit } from './documents.ts';

/**
 * Verifies a permit signed by the installation's permit key, or by a former key while that key was valid.
 * @param now as for `verifyPermit`
 * @throws {MillraceError} as `verifyPermit`; E_PERMIT if its key had been replaced
 */
export async function verifyPermitOf(
  directory: Pick<Directory, 'installation' | 'permitKey' | 'former'>,
  bytes: Uint8Array,
  now: number | 'any time',
): Promise<Signed<Permit>> {
  const { installation, permitKey, former } = directory;
  const keys = [{ key: permitKey, until: Number.POSITIVE_INFINITY }, ...(former?.permitKeys ?? [])].map((known) => ({
    point: fromHex(known.key),
    until: known.until,
  }));
  const named = (id: Bytes) => keys.find(({ point }) => equalBytes(id, keyId(point)));
  const permit = await verifyPermit(bytes, installation, (id) => named(id)?.point, now);
  const until = named(keyId(permit.signer))?.until ?? 0;
  if (permit.body.issued > until + CLOCK_SKEW_MS)
    throw new MillraceError('E_PERMIT', 'the key of the permit had been replaced when it was issued');
  return permit;
}
