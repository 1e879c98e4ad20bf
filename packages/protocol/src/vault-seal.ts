import { type Bytes, utf8 } from '@millrace/base';
import { type P256Key, seal, unseal } from '@millrace/identity';
import type { Directory } from './directory.ts';

/** The two ends of a sealed message of the vault, by their ids in the directory. */
export interface VaultEnds {
  readonly directory: Pick<Directory, 'installation'>;
  readonly keys: string;
  readonly segments: string;
}

/**
 * Seals a message of the keys node's half of the vault to a key that the segments node holds in memory only. The mail
 * around it authenticates the sender. Output: enc(65) ‖ ciphertext ‖ tag(16).
 * @param point the segments node's newest key, as it stated it
 */
export function sealVaultMessage(ends: VaultEnds, point: Uint8Array, message: Uint8Array): Promise<Bytes> {
  return seal(point, infoOf(ends), message);
}

/** @throws {MillraceError} E_SEAL if it was sealed to another key or for other nodes */
export function openVaultMessage(ends: VaultEnds, key: P256Key, sealed: Uint8Array): Promise<Bytes> {
  return unseal(key, infoOf(ends), sealed);
}

const infoOf = ({ directory, keys, segments }: VaultEnds): Bytes =>
  utf8(`millrace/v1/vault/${directory.installation}/${keys}/${segments}`);
