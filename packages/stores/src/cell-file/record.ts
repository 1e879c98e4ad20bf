import { type Bytes, concatBytes, MillraceError } from '@millrace/base';

/** Length of the epoch at the start of every value, bytes. */
export const EPOCH_BYTES = 4;
/** Maximum length of a head, bytes. */
export const MAX_HEAD = 64;

const WHOLE = 0;
const SLOTTED = 1;

/**
 * Index record of a cell. The cell's value is u32be(epoch) ‖ body. The record holds the whole value, or its first bytes
 * and the slot with the rest.
 */
export type CellRecord = { readonly value: Bytes } | { readonly head: Bytes; readonly slot: number };

/** 01 ‖ u32be(slot) ‖ head, or 00 ‖ value */
export function encodeRecord(record: CellRecord): Bytes {
  if ('value' in record) return concatBytes(Uint8Array.of(WHOLE), record.value);
  const out = new Uint8Array(5 + record.head.length);
  out[0] = SLOTTED;
  new DataView(out.buffer).setUint32(1, record.slot);
  out.set(record.head, 5);
  return out;
}

/** @throws {MillraceError} E_STORE */
export function decodeRecord(bytes: Bytes): CellRecord {
  if (bytes[0] === WHOLE) return { value: bytes.subarray(1) };
  if (bytes[0] !== SLOTTED || bytes.length < 5 + EPOCH_BYTES || bytes.length > 5 + MAX_HEAD) {
    throw new MillraceError('E_STORE', 'an entry of the cell index is damaged');
  }
  const slot = new DataView(bytes.buffer, bytes.byteOffset).getUint32(1);
  return { slot, head: bytes.subarray(5) };
}

/** A value too short for an epoch belongs to epoch 0. */
export function epochOf(record: CellRecord): number {
  const bytes = 'value' in record ? record.value : record.head;
  return bytes.length < EPOCH_BYTES ? 0 : new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}
