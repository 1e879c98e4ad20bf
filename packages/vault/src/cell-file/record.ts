import { type Bytes, concatBytes, MillraceError } from '@millrace/base';
import { SLOT_BYTES } from '../sizes.ts';

/** Longest head, bytes. */
const MAX_HEAD = 64;

const WHOLE = 0;
const SLOTTED = 1;

/** Index record of a value: the whole value, or its first bytes and the slot with the other 16,384. */
export type CellRecord = { readonly value: Bytes } | { readonly head: Bytes; readonly slot: number };

/** Whether a value of this length goes into the file. */
export const fits = (length: number): boolean => length >= SLOT_BYTES && length <= SLOT_BYTES + MAX_HEAD;

export const headOf = (value: Uint8Array): Uint8Array => value.subarray(0, value.length - SLOT_BYTES);

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
  if (bytes[0] !== SLOTTED || bytes.length < 5 || bytes.length > 5 + MAX_HEAD) {
    throw new MillraceError('E_STORE', 'an entry of the cell index is damaged');
  }
  const slot = new DataView(bytes.buffer, bytes.byteOffset).getUint32(1);
  return { slot, head: bytes.subarray(5) };
}
