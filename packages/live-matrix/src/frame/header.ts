import { type Bytes, MillraceError } from '@millrace/base/core';
import { type Block, layoutBlocks, totalParityBytes } from '../code/layout.ts';
import { isIntegerIn, MAX_BLOCK_HINTS, type Matrix, SESSION_ID_BYTES } from '../parameters.ts';
import { suites } from '../suites.ts';

/** Lengths of a frame's header and of its MAC, bytes. */
export const HEADER_BYTES = 38;
export const MAC_BYTES = 16;
/** Maximum number of hints in one frame, chaff included. */
export const MAX_HINTS = 65_535;

const MAGIC = 0x4d46; // 'MF'
const VERSION = 1;
/** Sparse frames carry the number of chaff hints, masked, before the parity. */
const CHAFF_COUNT_BYTES = 2;

export interface FrameHeader {
  readonly session: Uint8Array;
  readonly revision: bigint;
  readonly frame: number;
  /** Hints on the wire, chaff included. */
  readonly hints: number;
  readonly blockHints: number;
}

/** Offsets in a frame. */
export interface FrameShape {
  readonly blocks: readonly Block[];
  readonly hintsEnd: number;
  /** The masked part: chaff count (sparse only), then parity. */
  readonly maskedEnd: number;
  readonly parityAt: number;
  readonly frameBytes: number;
}

export function frameShape(matrix: Matrix, hints: number, blockHints: number): FrameShape {
  const blocks = layoutBlocks(matrix.hints, hints, blockHints);
  const hintsEnd = HEADER_BYTES + hints * matrix.hintBytes;
  const parityAt = hintsEnd + (matrix.hints === 'sparse' ? CHAFF_COUNT_BYTES : 0);
  const maskedEnd = parityAt + totalParityBytes(blocks);
  return { blocks, hintsEnd, maskedEnd, parityAt, frameBytes: maskedEnd + MAC_BYTES };
}

/** Writes the header to the start of `out`. All numbers are big-endian. */
export function writeHeader(out: Bytes, matrix: Matrix, header: FrameHeader): void {
  const view = new DataView(out.buffer, out.byteOffset, HEADER_BYTES);
  view.setUint16(0, MAGIC);
  view.setUint8(2, VERSION);
  view.setUint8(3, suites[matrix.suite].id);
  view.setUint8(4, matrix.order);
  view.setUint8(5, modeByte(matrix));
  out.set(header.session, 6);
  view.setBigUint64(22, header.revision);
  view.setUint32(30, header.frame);
  view.setUint16(34, header.hints);
  view.setUint16(36, header.blockHints);
}

/**
 * Reads the header and checks it against the session's parameters, and the frame's size against the header. Nothing is
 * authenticated at this point.
 * @throws {MillraceError} E_FRAME_FORMAT
 */
export function readHeader(frame: Uint8Array, matrix: Matrix): FrameHeader & { readonly shape: FrameShape } {
  if (frame.length < HEADER_BYTES + MAC_BYTES) throw malformed('it is too short');
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (view.getUint16(0) !== MAGIC) throw malformed('it does not start with the magic bytes');
  if (view.getUint8(2) !== VERSION) throw malformed('its version is unknown');
  if (view.getUint8(3) !== suites[matrix.suite].id) throw malformed('it has another suite');
  if (view.getUint8(4) !== matrix.order) throw malformed('it has another order');
  if (view.getUint8(5) !== modeByte(matrix)) throw malformed('it has hints of another kind');
  const hints = view.getUint16(34);
  const blockHints = view.getUint16(36);
  if (hints === 0) throw malformed('it has no hints');
  if (!isIntegerIn(blockHints, 1, MAX_BLOCK_HINTS)) throw malformed('its block size is not allowed');
  const shape = frameShape(matrix, hints, blockHints);
  if (frame.length !== shape.frameBytes) throw malformed('its size does not match its header');
  return {
    session: frame.subarray(6, 6 + SESSION_ID_BYTES),
    revision: view.getBigUint64(22),
    frame: view.getUint32(30),
    hints,
    blockHints,
    shape,
  };
}

function modeByte(matrix: Matrix): number {
  return matrix.hints === 'dense' ? 0 : 1;
}

function malformed(why: string): MillraceError {
  return new MillraceError('E_FRAME_FORMAT', `not a frame of this session: ${why}`);
}

/**
 * The revision that a frame claims, unauthenticated. A receiver uses it to prepare a table early.
 * @throws {MillraceError} E_FRAME_FORMAT
 */
export function claimedRevision(frame: Uint8Array): bigint {
  if (frame.length < HEADER_BYTES + MAC_BYTES) throw malformed('it is too short');
  return new DataView(frame.buffer, frame.byteOffset, frame.byteLength).getBigUint64(22);
}
