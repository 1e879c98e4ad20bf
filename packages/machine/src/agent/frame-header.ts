import type { Bytes } from '@millrace/base';

/** Bytes of a frame's header (spec/live-matrix.md, frames). */
const HEADER_BYTES = 38;

export interface ClaimedHeader {
  readonly session: Bytes;
  readonly revision: bigint;
  readonly frame: number;
  readonly hints: number;
}

/** What a frame says of itself, unauthenticated; undefined when it is too short to say anything. */
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
