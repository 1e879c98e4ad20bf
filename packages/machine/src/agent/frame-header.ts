import type { Bytes } from '@millrace/base';

/** Length of a frame's header, bytes (spec/live-matrix.md, frames). */
const HEADER_BYTES = 38;

export interface ClaimedHeader {
  readonly session: Bytes;
  readonly revision: bigint;
  readonly frame: number;
  readonly hints: number;
}

/** Unauthenticated header fields of a frame; undefined if the frame is too short. */
export function readClaimedHeader(frame: Bytes): ClaimedHeader | undefined {
  if (frame.length < HEADER_BYTES) return undefined;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  return {
    session: frame.subarray(6, 22),
    revision: view.getBigUint64(22),
    frame: view.getUint32(30),
    hints: view.getUint16(34),
  };
}
