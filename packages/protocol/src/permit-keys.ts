import { type Bytes, equalBytes, fromHex, MillraceError } from '@millrace/base';
import { keyId } from '@millrace/identity';
import { CLOCK_SKEW_MS, type Directory } from './directory.ts';
import { type Permit, type Signed, verifyPermit } from './documents.ts';

type Named = Pick<Directory, 'permitKey' | 'former'>;

/**
 * Verifies a permit signed by the installation's permit key, or by a former key while that key was valid.
 * @param now as for `verifyPermit`
 * @throws {MillraceError} as `verifyPermit`; E_PERMIT if its key had been replaced
 */
export async function verifyPermitOf(
  directory: Named & Pick<Directory, 'installation'>,
  bytes: Uint8Array,
  now: number | 'any time',
): Promise<Signed<Permit>> {
  const permit = await verifyPermit(bytes, directory.installation, keyInForce(directory), now);
  requireInForce(directory, permit);
  return permit;
}

function permitKeys({ permitKey, former }: Named) {
  return [{ key: permitKey, until: Number.POSITIVE_INFINITY }, ...(former?.permitKeys ?? [])].map((known) => ({
    point: fromHex(known.key),
    until: known.until,
  }));
}

/** Looks up a present or former permit key. */
export function keyInForce(directory: Named): (id: Bytes) => Bytes | undefined {
  const keys = permitKeys(directory);
  return (id) => keys.find(({ point }) => equalBytes(id, keyId(point)))?.point;
}

/** @throws {MillraceError} E_PERMIT if the permit key had been replaced when it signed the document */
export function requireInForce(directory: Named, { body, signer }: Signed<{ readonly issued: number }>): void {
  const until = permitKeys(directory).find(({ point }) => equalBytes(point, signer))?.until ?? 0;
  if (body.issued > until + CLOCK_SKEW_MS)
    throw new MillraceError('E_PERMIT', 'the key of the permit had been replaced when it was issued');
}
