import { type Bytes, wipe } from '@millrace/base';
import {
  applyOuterLayer,
  CONTENT_BYTES,
  type ContentMac,
  contentMac,
  openSegment,
  SEGMENT_BYTES,
} from '@millrace/vault';

export { CONTENT_BYTES, type ContentMac, SEGMENT_BYTES };

const OUTER_KEY_BYTES = 32;

/**
 * Takes off the outer layer and opens the segment.
 * @param options.keys k_e(32) ‖ CEK(32)
 * @returns 16,370 bytes
 * @throws {MillraceError} E_SEAL
 */
export function openCell(options: {
  cell: Bytes;
  keys: Bytes;
  designNonce: Uint8Array;
  number: number;
  final: boolean;
}): Bytes {
  const { cell, keys, ...place } = options;
  const sealed = applyOuterLayer(keys.subarray(0, OUTER_KEY_BYTES), cell);
  try {
    return openSegment({ ...place, cek: keys.subarray(OUTER_KEY_BYTES), sealed });
  } finally {
    wipe(sealed);
  }
}

/** @param keys those of segment 0 */
export function startContentMac(keys: Bytes): ContentMac {
  return contentMac(keys.subarray(OUTER_KEY_BYTES));
}
