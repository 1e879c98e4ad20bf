import { type Bytes, copyBytes, equalBytes, MillraceError, wipe } from '@millrace/base';
import { sha256 } from '@millrace/protocol';
import {
  applyOuterLayer,
  CONTENT_BYTES,
  type ContentMac,
  contentMac,
  openSegment,
  POINTS_BYTES,
  type PointsEngine,
  SEGMENT_BYTES,
} from '@millrace/vault';

export { CONTENT_BYTES, type ContentMac };

const KEY_BYTES = 32;

/** Outer layer of the cells. Segments of a job package have none. */
export type OuterLayer = 'ctr' | 'points' | 'none';

/** Length of every cell of a session, bytes. */
export const cellBytes = (layer: OuterLayer): number => (layer === 'points' ? POINTS_BYTES : SEGMENT_BYTES);

/**
 * Removes the outer layer, compares the sealed segment with the owner's commitment, and opens it.
 * @param options.keys k_e(32) ‖ CEK(32), under points ‖ label(32)
 * @param options.hash SHA-256 of the sealed segment, proven by the caller
 * @param options.points removes layers of points: two thirds of a core-second, in a separate thread
 * @returns 16,370 bytes
 * @throws {MillraceError} E_SEGMENT if it is not the owner's, E_SEAL
 */
export async function openCell(options: {
  layer: OuterLayer;
  points: PointsEngine;
  cell: Bytes;
  keys: Uint8Array;
  hash: Uint8Array;
  designSecret: Uint8Array;
  designNonce: Uint8Array;
  number: number;
  final: boolean;
}): Promise<Bytes> {
  const { layer, points, cell, keys, hash, ...place } = options;
  const outer = keys.subarray(0, KEY_BYTES);
  const label = keys.subarray(2 * KEY_BYTES);
  const takeOff = async (): Promise<Bytes> => {
    if (layer === 'none') return copyBytes(cell);
    if (layer === 'ctr') return applyOuterLayer(outer, cell);
    return (await points.run({ kind: 'takeOff', scalar: outer, label, bytes: cell })).bytes;
  };
  const sealed = await takeOff();
  try {
    if (!equalBytes(sha256(sealed), hash))
      throw new MillraceError('E_SEGMENT', `segment ${place.number} is not the one that the owner signed`, {
        data: { segment: place.number },
      });
    return openSegment({ ...place, cek: cekOf(keys), sealed });
  } finally {
    wipe(sealed);
  }
}

/** @param keys keys of segment 0 */
export function startContentMac(keys: Uint8Array, designSecret: Uint8Array): ContentMac {
  return contentMac({ cek: cekOf(keys), designSecret });
}

const cekOf = (keys: Uint8Array): Uint8Array => keys.subarray(KEY_BYTES, 2 * KEY_BYTES);
