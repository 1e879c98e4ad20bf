import { type Bytes, MillraceError, wipe } from '@millrace/base/core';
import { isIntegerIn, MAX_CELL_BYTES } from '../parameters.ts';
import { TAG_BYTES } from './aead.ts';

/** Cells are multiples of 6 bytes, so that they fit symbols of 2 and of 3 bytes. */
const STEP = 6;
const MIN_CELL_BYTES = 48;
/** Padded length of a cell that is not full. Doubled until the data fits. */
const MIN_PADDED = 256;
/** Kind and length in front of the data. */
const HEAD_BYTES = 5;
const DATA = 0;
const END = 1;

export const DEFAULT_CELL_BYTES = 16_386;

/** Contents of a cell: data, or the proof of the end. */
export type CellContent =
  | { readonly kind: 'data'; readonly data: Bytes }
  | { readonly kind: 'end'; readonly total: bigint };

/** @throws {MillraceError} E_INPUT if it is not a multiple of 6 from 48 to 65,538 */
export function requireCellBytes(cellBytes: number): void {
  if (!isIntegerIn(cellBytes, MIN_CELL_BYTES, MAX_CELL_BYTES) || cellBytes % STEP !== 0) {
    throw new MillraceError('E_INPUT', `a cell has 48 to ${MAX_CELL_BYTES} bytes, a multiple of ${STEP}`);
  }
}

/** Bytes of data in a full cell. */
export function cellCapacity(cellBytes: number): number {
  return cellBytes - TAG_BYTES - HEAD_BYTES;
}

/** Plain data cell. Sealed, it has at most `cellBytes` bytes. */
export function layData(cellBytes: number, data: Uint8Array): Bytes {
  const plain = new Uint8Array(plainBytes(cellBytes, data.length));
  plain[0] = DATA;
  new DataView(plain.buffer).setUint32(1, data.length);
  plain.set(data, HEAD_BYTES);
  return plain;
}

/** Plain cell that ends the stream. @param total bytes of data in the whole stream */
export function layEnd(cellBytes: number, total: bigint): Bytes {
  const plain = new Uint8Array(plainBytes(cellBytes, 8));
  const view = new DataView(plain.buffer);
  plain[0] = END;
  view.setUint32(1, 8);
  view.setBigUint64(HEAD_BYTES, total);
  return plain;
}

/** Wipes `plain`. @throws {MillraceError} E_FRAME_FORMAT */
export function readCell(plain: Uint8Array): CellContent {
  try {
    if (plain.length < HEAD_BYTES) throw malformed();
    const view = new DataView(plain.buffer, plain.byteOffset, plain.byteLength);
    const length = view.getUint32(1);
    if (length > plain.length - HEAD_BYTES) throw malformed();
    if (plain[0] === DATA && length > 0) {
      return { kind: 'data', data: new Uint8Array(plain.subarray(HEAD_BYTES, HEAD_BYTES + length)) };
    }
    if (plain[0] === END && length === 8) return { kind: 'end', total: view.getBigUint64(HEAD_BYTES) };
    throw malformed();
  } finally {
    wipe(plain);
  }
}

/** Pads to one of a few sizes, so that the length of a cell reveals little. */
function plainBytes(cellBytes: number, length: number): number {
  let padded = MIN_PADDED;
  while (padded < length + HEAD_BYTES + TAG_BYTES) padded *= 2;
  return Math.min(cellBytes, Math.ceil(padded / STEP) * STEP) - TAG_BYTES;
}

function malformed(): MillraceError {
  return new MillraceError('E_FRAME_FORMAT', 'a cell of the stream does not have the agreed format');
}
