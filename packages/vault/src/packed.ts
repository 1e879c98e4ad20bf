import { type Bytes, MillraceError } from '@millrace/base';

/** Names and lengths of the fields of a fixed-size record; `u32` fields are big-endian numbers. */
export type Layout = Readonly<Record<string, number | 'u32' | 'u8'>>;

export type RecordOf<L extends Layout> = { [K in keyof L]: L[K] extends 'u32' | 'u8' ? number : Bytes };

const lengthOf = (field: number | 'u32' | 'u8'): number => (field === 'u32' ? 4 : field === 'u8' ? 1 : field);

/** Bytes of one record. */
export function recordLength(layout: Layout): number {
  return Object.values(layout).reduce<number>((total, field) => total + lengthOf(field), 0);
}

export function pack<L extends Layout>(layout: L, records: readonly RecordOf<L>[]): Bytes {
  const each = recordLength(layout);
  const out = new Uint8Array(each * records.length);
  const view = new DataView(out.buffer);
  const fields = Object.entries(layout);
  let offset = 0;
  for (const record of records) {
    for (const [name, field] of fields) {
      const value: number | Bytes = record[name as keyof L];
      if (typeof value === 'number') {
        if (field === 'u8') view.setUint8(offset, value);
        else view.setUint32(offset, value);
      } else if (value.length === field) {
        out.set(value, offset);
      } else {
        throw new MillraceError('E_INTERNAL', `packed.${name}: expected ${field} bytes, got ${value.length}`);
      }
      offset += lengthOf(field);
    }
  }
  return out;
}

/** @throws {MillraceError} E_INPUT when the length does not fit */
export function unpack<L extends Layout>(layout: L, bytes: Uint8Array): RecordOf<L>[] {
  const each = recordLength(layout);
  if (bytes.length % each !== 0) throw new MillraceError('E_INPUT', `packed: not a multiple of ${each} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fields = Object.entries(layout);
  // A plain array's slice() copies, a Buffer's does not.
  const plain = new Uint8Array<ArrayBufferLike>(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / each }, (_, i) => {
    const record: Record<string, number | Bytes> = {};
    let offset = i * each;
    for (const [name, field] of fields) {
      if (field === 'u32') record[name] = view.getUint32(offset);
      else if (field === 'u8') record[name] = view.getUint8(offset);
      else record[name] = plain.slice(offset, offset + field) as Bytes;
      offset += lengthOf(field);
    }
    return record as RecordOf<L>;
  });
}
