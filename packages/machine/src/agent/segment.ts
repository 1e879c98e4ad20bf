import { type Bytes, wipe } from '@millrace/base';
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

/** What the cells of a session lie under. */
export type OuterLayer = 'ctr' | 'points';

/** Bytes of every cell of a session. */
export const cellBytes = (layer: OuterLayer): number => (layer === 'points' ? POINTS_BYTES : SEGMENT_BYTES);

/**
 * Takes off the outer layer and opens the segment.
 * @param options.keys k_e(32) ‖ CEK(32), under points ‖ label(32)
 * @param options.points takes off layers of points: two thirds of a second of a core, in a thread of its own
 * @returns 16,370 bytes
 * @throws {MillraceError} E_SEAL
 */
export async function openCell(options: {
  layer: OuterLayer;
  points: PointsEngine;
  cell: Bytes;
  keys: Uint8Array;
  designNonce: Uint8Array;
  number: number;
  final: boolean;
}): Promise<Bytes> {
  const { layer, points, cell, keys, ...place } = options;
  const outer = keys.subarray(0, KEY_BYTES);
  const label = keys.subarray(2 * KEY_BYTES);
  const sealed =
    layer === 'ctr'
      ? applyOuterLayer(outer, cell)
      : (await points.run({ kind: 'takeOff', scalar: outer, label, bytes: cell })).bytes;
  try {
    return openSegment({ ...place, cek: cekOf(keys), sealed });
  } finally {
    wipe(sealed);
  }
}

/** @param keys those of segment 0 */
export function startContentMac(keys: Uint8Array): ContentMac {
  return contentMac(cekOf(keys));
}

const cekOf = (keys: Uint8Array): Uint8Array => keys.subarray(KEY_BYTES, 2 * KEY_BYTES);
