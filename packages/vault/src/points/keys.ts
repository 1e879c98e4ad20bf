import { createHmac } from 'node:crypto';
import { type Bytes, copyBytes, u32be, utf8, wipe } from '@millrace/base/core';

// Keys of a layer of points: numbers modulo the order of secp256k1, 32 bytes, big-endian. Big integers cannot be wiped;
// the bytes they come from are. This module does not need the curve and loads no library.

const OUTER = utf8('points');
const LABEL = utf8('label');
/** The order of secp256k1 (SEC 2). */
const ORDER = 0xffff_ffff_ffff_ffff_ffff_ffff_ffff_fffe_baae_dce6_af48_a03b_bfd2_5e8c_d036_4141n;

/** k_e of a cell: HMAC-SHA-512(K_e, "points" ‖ design ‖ segment) mod n. The caller wipes it. */
export function pointsKey(epochKey: Uint8Array, design: Uint8Array, segment: number): Bytes {
  const wide = createHmac('sha512', epochKey).update(OUTER).update(design).update(u32be(segment)).digest();
  const key = toBytes(toNumber(wide));
  wipe(wide);
  return key;
}

/** Token that converts a cell from the old key to the new key. The caller wipes it. */
export function pointsToken(oldKey: Uint8Array, newKey: Uint8Array): Bytes {
  return toBytes(toNumber(newKey) + ORDER - (toNumber(oldKey) % ORDER));
}

/**
 * Input of a cell's H, constant over all epochs: 32 bytes that reveal neither the design nor whether it is a decoy.
 * @param secret secret of the keys node; it decrypts nothing
 */
export function pointsLabel(secret: Uint8Array, design: Uint8Array, segment: number): Bytes {
  return copyBytes(createHmac('sha256', secret).update(LABEL).update(design).update(u32be(segment)).digest());
}

function toNumber(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex')}`);
}

function toBytes(number: bigint): Bytes {
  return copyBytes(Buffer.from((number % ORDER).toString(16).padStart(64, '0'), 'hex'));
}
