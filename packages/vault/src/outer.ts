import { createCipheriv, createHmac, hkdfSync } from 'node:crypto';
import { type Bytes, concatBytes, copyBytes, u32be, utf8, wipe } from '@millrace/base';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { INDEX_BYTES, KEY_BYTES, SEGMENT_BYTES } from './sizes.ts';

const ZERO_COUNTER = new Uint8Array(16);
const ZEROS = new Uint8Array(SEGMENT_BYTES);
const OUTER = utf8('outer');
const INDEX = utf8('index');

/**
 * Adds or takes off an outer layer: XOR with AES-256-CTR from counter 0 (spec/vault.md, section 3).
 * @param key serves one cell in one epoch
 */
export function applyOuterLayer(key: Uint8Array, bytes: Uint8Array): Bytes {
  return copyBytes(createCipheriv('aes-256-ctr', key, ZERO_COUNTER).update(bytes));
}

/**
 * Δ of mode `delta`: what two outer keys make, XORed (spec/vault.md, section 6). Applied to a body under one layer it gives the
 * body under the other. 16,386 bytes, the caller wipes them.
 */
export function outerMask(oldKey: Uint8Array, newKey: Uint8Array): Bytes {
  const stream = createCipheriv('aes-256-ctr', oldKey, ZERO_COUNTER).update(ZEROS);
  const mask = copyBytes(createCipheriv('aes-256-ctr', newKey, ZERO_COUNTER).update(stream));
  wipe(stream);
  return mask;
}

/** HMAC-SHA-256(K_e, "outer" ‖ design ‖ segment): 32 bytes, the caller wipes them. */
export function outerKey(epochKey: Uint8Array, design: Uint8Array, segment: number): Bytes {
  return copyBytes(createHmac('sha256', epochKey).update(OUTER).update(design).update(u32be(segment)).digest());
}

/** I_e, from which all indexes of an epoch are derived: 32 bytes. */
export function indexKey(epochKey: Uint8Array): Bytes {
  return new Uint8Array(hkdfSync('sha256', epochKey, new Uint8Array(), INDEX, KEY_BYTES));
}

/** Where the cell lies in the epoch: 20 bytes. */
export function cellIndex(key: Uint8Array, design: Uint8Array, segment: number): Bytes {
  return copyBytes(keccak_256(concatBytes(key, design, u32be(segment))).subarray(0, INDEX_BYTES));
}
