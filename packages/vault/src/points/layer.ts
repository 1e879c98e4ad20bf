import { type Bytes, concatBytes, u32be } from '@millrace/base/core';
import { secp256k1_hasher } from '@noble/curves/secp256k1.js';
import { decodePoints, embed, encodePoints, extract, Point } from './embed.ts';

// The outer layer of mode `key-homomorphic` (spec/vault.md, section 3): c = M + k·H, a KH-PRF as in ReCrypt. The scalar
// k′ − k alone converts a cell from k to k′. The arithmetic uses big integers, so it is not constant-time and cannot be
// wiped.

const DST = 'millrace/v1/points/secp256k1_XMD:SHA-256_SSWU_RO_';
const { Fn } = Point;

/** Adds a layer to a sealed segment. @returns 18,054 bytes */
export function addPoints(key: Uint8Array, label: Uint8Array, sealed: Uint8Array): Bytes {
  return encodePoints(added(embed(sealed), Fn.fromBytes(key), label));
}

/** Converts a cell from one layer to another. @throws {MillraceError} E_CELL_DAMAGED */
export function movePoints(token: Uint8Array, label: Uint8Array, body: Uint8Array): Bytes {
  return encodePoints(added(decodePoints(body), Fn.fromBytes(token), label));
}

/**
 * Removes a layer.
 * @returns the sealed segment, 16,386 bytes
 * @throws {MillraceError} E_CELL_DAMAGED (not points), E_SEAL (layer of another key, or altered)
 */
export function takeOffPoints(key: Uint8Array, label: Uint8Array, body: Uint8Array): Bytes {
  return extract(added(decodePoints(body), Fn.neg(Fn.fromBytes(key)), label));
}

function added(points: readonly Point[], scalar: bigint, label: Uint8Array): Point[] {
  // Variable time is acceptable: all points share the scalar, and it is never used with chosen messages.
  return points.map((point, i) => point.add(hashed(label, i).multiplyUnsafe(scalar)));
}

/** H of chunk i: RFC 9380, secp256k1_XMD:SHA-256_SSWU_RO_, of label(32) ‖ u32be(i). */
function hashed(label: Uint8Array, i: number): Point {
  return secp256k1_hasher.hashToCurve(concatBytes(label, u32be(i)), { DST }) as Point;
}
