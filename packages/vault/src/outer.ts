import { createHmac } from 'node:crypto';
import { endianness } from 'node:os';
import { type Bytes, concatBytes, copyBytes, hkdf, u32be, utf8, wipe } from '@millrace/base';
import { keccak_256, keccakP } from '@noble/hashes/sha3.js';
import { ctr } from './ctr.ts';
import { DESIGN_ID_BYTES, INDEX_BYTES, KEY_BYTES, SEGMENT_BYTES } from './sizes.ts';

const ZEROS = new Uint8Array(SEGMENT_BYTES);
const OUTER = utf8('outer');
const INDEX = utf8('index');
const OUTER_INPUT = concatBytes(OUTER, new Uint8Array(DESIGN_ID_BYTES + 4));
const OUTER_VIEW = new DataView(OUTER_INPUT.buffer);
/** Input bytes of one Keccak-256 block. */
const RATE = 136;
const STATE = new Uint32Array(50);
const BLOCK = new Uint8Array(STATE.buffer);
const BLOCK_VIEW = new DataView(STATE.buffer);
const LITTLE_ENDIAN = endianness() === 'LE';

/**
 * Adds or removes an outer layer: XOR with AES-256-CTR from counter 0 (spec/vault.md, section 3).
 * @param key used for one cell in one epoch only
 */
export function applyOuterLayer(key: Uint8Array, bytes: Uint8Array): Bytes {
  return copyBytes(ctr(key, bytes));
}

/**
 * Δ of mode `delta`: the XOR of the keystreams of two outer keys (spec/vault.md, section 6). Applied to a body under
 * one layer, it gives the body under the other.
 * @param into 16,386 bytes; the caller wipes them
 */
export function outerMask(oldKey: Uint8Array, newKey: Uint8Array, into: Uint8Array): void {
  const stream = ctr(oldKey, ZEROS);
  const mask = ctr(newKey, stream);
  into.set(mask);
  wipe(stream, mask);
}

/** HMAC-SHA-256(K_e, "outer" ‖ design ‖ segment): 32 bytes, the caller wipes them. */
export function outerKey(epochKey: Uint8Array, design: Uint8Array, segment: number): Bytes {
  // One update with one buffer: three updates would double the cost. The names are not secret.
  OUTER_INPUT.set(design, OUTER.length);
  OUTER_VIEW.setUint32(OUTER.length + DESIGN_ID_BYTES, segment);
  return copyBytes(createHmac('sha256', epochKey).update(OUTER_INPUT).digest());
}

/** I_e, from which all indexes of an epoch are derived: 32 bytes. */
export function indexKey(epochKey: Uint8Array): Bytes {
  return hkdf([epochKey], new Uint8Array(), INDEX);
}

/**
 * Index of the cell in the epoch: 20 bytes. One block of Keccak-256 with its original padding (key 32, design 16,
 * segment 4), computed with the bare permutation. A hash object would cost a third more, and a sweep computes a million
 * indexes.
 */
export function cellIndex(key: Uint8Array, design: Uint8Array, segment: number): Bytes {
  if (!LITTLE_ENDIAN) return copyBytes(keccak_256(concatBytes(key, design, u32be(segment))).subarray(0, INDEX_BYTES));
  BLOCK.fill(0);
  BLOCK.set(key, 0);
  BLOCK.set(design, KEY_BYTES);
  BLOCK_VIEW.setUint32(KEY_BYTES + DESIGN_ID_BYTES, segment);
  BLOCK[KEY_BYTES + DESIGN_ID_BYTES + 4] = 0x01;
  BLOCK[RATE - 1] = 0x80;
  keccakP(STATE);
  const index = BLOCK.slice(0, INDEX_BYTES);
  BLOCK.fill(0);
  return index;
}
