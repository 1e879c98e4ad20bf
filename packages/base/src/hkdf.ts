import { createHmac } from 'node:crypto';
import { type Bytes, copyBytes, wipe } from './byte-arrays.ts';

const FIRST_BLOCK = Uint8Array.of(1);

/**
 * HKDF-SHA-256 (RFC 5869), one block. `hkdfSync` of node:crypto gives the same, and leaves a copy of its secret in memory
 * until the garbage collector comes; here nothing of it stays but what the caller holds.
 * @param secret input keying material, in parts
 * @param salt may be empty
 * @returns 32 bytes
 */
export function hkdf(secret: readonly Uint8Array[], salt: Uint8Array, info: Uint8Array): Bytes {
  const extract = createHmac('sha256', salt);
  for (const part of secret) extract.update(part);
  const key = extract.digest();
  try {
    return copyBytes(createHmac('sha256', key).update(info).update(FIRST_BLOCK).digest());
  } finally {
    wipe(key);
  }
}
