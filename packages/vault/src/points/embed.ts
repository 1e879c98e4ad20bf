import { type Bytes, MillraceError } from '@millrace/base/core';
import { normalizeZ } from '@noble/curves/abstract/curve.js';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { POINTS_BYTES, SEGMENT_BYTES } from '../sizes.ts';

// Maps a sealed segment to points of secp256k1, and points to bytes (spec/vault.md, section 3).

export const Point = secp256k1.Point;
export type Point = InstanceType<typeof Point>;

/** Bytes of a sealed segment in one point: its x without the zero byte and the counter. */
const CHUNK_BYTES = 30;
/** Length of a compressed point, bytes. */
const POINT_BYTES = 33;
const POINTS = Math.ceil(SEGMENT_BYTES / CHUNK_BYTES);
const { Fp } = Point;

/** 16,386 bytes as 547 points: each with an even y, and x = 00 ‖ 30 bytes ‖ the least counter that is on the curve. */
export function embed(sealed: Uint8Array): Point[] {
  const filled = new Uint8Array(POINTS * CHUNK_BYTES);
  filled.set(sealed);
  const x = new Uint8Array(Fp.BYTES);
  const points = Array.from({ length: POINTS }, (_, i) => {
    x.set(filled.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES), 1);
    return embedChunk(x);
  });
  filled.fill(0);
  x.fill(0);
  return points;
}

function embedChunk(x: Uint8Array): Point {
  for (let counter = 0; counter < 256; counter++) {
    x[CHUNK_BYTES + 1] = counter;
    const point = pointAt(Fp.fromBytes(x));
    if (point !== undefined) return point;
  }
  throw new MillraceError('E_INTERNAL', 'no counter puts a chunk on the curve'); // one chance in 2^256
}

/** The point with this x and an even y. */
function pointAt(x: bigint): Point | undefined {
  let y: bigint;
  try {
    y = Fp.sqrt(Fp.add(Fp.mul(Fp.sqr(x), x), 7n));
  } catch {
    return undefined; // not on the curve
  }
  return Point.fromAffine({ x, y: y & 1n ? Fp.neg(y) : y });
}

/** @throws {MillraceError} E_SEAL if the points do not encode a segment: they are still under a layer */
export function extract(points: readonly Point[]): Bytes {
  const out = new Uint8Array(POINTS * CHUNK_BYTES);
  for (const [i, point] of normalizeZ(Point, [...points]).entries()) {
    if (point.is0()) throw noSegment();
    const { x, y } = point.toAffine();
    const bytes = Fp.toBytes(x);
    if (bytes[0] !== 0 || y & 1n) throw noSegment();
    out.set(bytes.subarray(1, 1 + CHUNK_BYTES), i * CHUNK_BYTES);
    bytes.fill(0);
  }
  if (out.subarray(SEGMENT_BYTES).some((byte) => byte !== 0)) throw noSegment();
  return out.slice(0, SEGMENT_BYTES);
}

/** 18,054 bytes: compressed points, then three zero bytes. */
export function encodePoints(points: readonly Point[]): Bytes {
  const out = new Uint8Array(POINTS_BYTES);
  for (const [i, point] of normalizeZ(Point, [...points]).entries()) out.set(point.toBytes(true), i * POINT_BYTES);
  return out;
}

/** @throws {MillraceError} E_CELL_DAMAGED if the body is not 547 points */
export function decodePoints(body: Uint8Array): Point[] {
  const fill = body.subarray(POINTS * POINT_BYTES);
  if (body.length !== POINTS_BYTES || fill.some((byte) => byte !== 0)) throw damaged();
  return Array.from({ length: POINTS }, (_, i) => {
    const bytes = body.subarray(i * POINT_BYTES, (i + 1) * POINT_BYTES);
    try {
      return Point.fromBytes(bytes);
    } catch (cause) {
      throw damaged(cause);
    }
  });
}

function noSegment(): MillraceError {
  return new MillraceError('E_SEAL', 'the points do not encode a segment: altered, or under another layer');
}

function damaged(cause?: unknown): MillraceError {
  return new MillraceError('E_CELL_DAMAGED', 'a cell of points does not hold points', { cause });
}
