import { type Bytes, MillraceError } from '@millrace/base';

/** Names and lengths of the fields of a fixed-size record; `u32` fields are big-endian numbers. */
export type Layout = Readonly<Record<string, Field>>;
type Field = number | 'u32' | 'u8';

export type RecordOf<L extends Layout> = { [K in keyof L]: L[K] extends number ? Bytes : number };
/** Names of a record's byte fields. The other fields are numbers. */
type BytesField<L extends Layout> = { [K in keyof L]: L[K] extends number ? K : never }[keyof L];
type NumberField<L extends Layout> = Exclude<keyof L, BytesField<L>>;

const lengthOf = (field: Field): number => (field === 'u32' ? 4 : field === 'u8' ? 1 : field);

/** Length of one record, bytes. */
export function recordLength(layout: Layout): number {
  return Object.values(layout).reduce<number>((total, field) => total + lengthOf(field), 0);
}

/**
 * Encoded records in one byte string. A record's object is created only when one of its fields is read: with thousands
 * of cells in a message, such objects were most of the garbage.
 */
export class Packed<L extends Layout> {
  /** The concatenated records. The creator wipes them. */
  readonly bytes: Bytes;
  /** Number of records. */
  readonly count: number;
  readonly #each: number;
  readonly #layout: L;
  readonly #starts: Record<string, number> = {};

  /** @throws {MillraceError} E_INPUT if the length is not a multiple of the record length */
  constructor(layout: L, bytes: Bytes) {
    let each = 0;
    for (const [name, field] of Object.entries(layout)) {
      this.#starts[name] = each;
      each += lengthOf(field);
    }
    if (bytes.length % each !== 0) throw new MillraceError('E_INPUT', `packed: not a multiple of ${each} bytes`);
    this.bytes = bytes;
    this.count = bytes.length / each;
    this.#each = each;
    this.#layout = layout;
  }

  /** Zeroed records, to be filled. */
  static blank<L extends Layout>(layout: L, count: number): Packed<L> {
    return new Packed(layout, new Uint8Array(recordLength(layout) * count));
  }

  /** @throws {MillraceError} E_INTERNAL if a field has the wrong length */
  static of<L extends Layout>(layout: L, records: readonly RecordOf<L>[]): Packed<L> {
    const out = Packed.blank(layout, records.length);
    const names = Object.keys(layout);
    for (const [i, record] of records.entries()) {
      for (const name of names) {
        const value: number | Bytes = record[name as keyof L];
        if (typeof value === 'number') out.setNumber(i, name as NumberField<L>, value);
        else out.set(i, name as BytesField<L>, value);
      }
    }
    return out;
  }

  /** A view of the field, not a copy. */
  view(record: number, field: BytesField<L>): Bytes {
    const start = this.#at(record, field);
    return this.bytes.subarray(start, start + lengthOf(this.#layout[field] ?? 0));
  }

  /** Two adjacent fields as one view. */
  span(record: number, first: BytesField<L>, last: BytesField<L>): Bytes {
    return this.bytes.subarray(this.#at(record, first), this.#at(record, last) + lengthOf(this.#layout[last] ?? 0));
  }

  number(record: number, field: NumberField<L>): number {
    const at = this.#at(record, field);
    let value = 0;
    for (let i = at; i < at + lengthOf(this.#layout[field] ?? 0); i++) value = value * 256 + (this.bytes[i] ?? 0);
    return value;
  }

  /** @throws {MillraceError} E_INTERNAL if the value has the wrong length */
  set(record: number, field: BytesField<L>, value: Uint8Array): void {
    const length = this.#layout[field];
    if (value.length !== length)
      throw new MillraceError('E_INTERNAL', `packed.${String(field)}: expected ${length} bytes, got ${value.length}`);
    this.bytes.set(value, this.#at(record, field));
  }

  setNumber(record: number, field: NumberField<L>, value: number): void {
    const at = this.#at(record, field);
    let rest = value;
    for (let i = at + lengthOf(this.#layout[field] ?? 0) - 1; i >= at; i--, rest = Math.floor(rest / 256))
      this.bytes[i] = rest % 256;
  }

  /** Every record as an object with copies of its fields, for messages of a few hundred records. */
  records(): RecordOf<L>[] {
    const fields = Object.entries(this.#layout);
    return Array.from({ length: this.count }, (_, i) => {
      const record: Record<string, number | Bytes> = {};
      for (const [name, field] of fields) {
        record[name] =
          typeof field === 'number'
            ? this.view(i, name as BytesField<L>).slice()
            : this.number(i, name as NumberField<L>);
      }
      return record as RecordOf<L>;
    });
  }

  #at(record: number, field: keyof L): number {
    return record * this.#each + (this.#starts[field as string] ?? 0);
  }
}

export function pack<L extends Layout>(layout: L, records: readonly RecordOf<L>[]): Bytes {
  return Packed.of(layout, records).bytes;
}

/** @throws {MillraceError} E_INPUT if the length is not a multiple of the record length */
export function unpack<L extends Layout>(layout: L, bytes: Uint8Array): RecordOf<L>[] {
  // A Buffer's slice() is a view, not a copy.
  const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) as Bytes;
  return new Packed(layout, plain).records();
}
