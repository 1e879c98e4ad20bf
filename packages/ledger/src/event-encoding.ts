import { type Bytes, compareBytes, utf8 } from '@millrace/base';

// Deterministic CBOR (RFC 8949, 4.2.1) for events only: several times faster than a general encoder, which would
// dominate the time of an append. `test/event.test.ts` compares it with the encoder of @millrace/base.

/** A fact of an event. Numbers are integers (milligrams, micrometres, milliseconds), to avoid rounding. */
export type BodyValue =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | readonly BodyValue[]
  | { readonly [key: string]: BodyValue };

const UNSIGNED = 0;
const NEGATIVE = 1;
const BYTES = 2;
const TEXT = 3;
const LIST = 4;
const MAP = 5;
const FALSE = 0xf4;
const TRUE = 0xf5;
const NULL = 0xf6;
const FIRST_LENGTH = 1024;
/** Maximum number of names that are sorted by insertion. */
const FEW = 16;

/** Keys of an event in the order of their encodings. */
const keys = ['v', 'id', 'body', 'time', 'type', 'actor', 'account', 'evidence', 'previous', 'sequence'] as const;
const encodedKeys = keys.map((key) => Uint8Array.of((TEXT << 5) | key.length, ...utf8(key)));

type EncodableEvent = { readonly [K in (typeof keys)[number]]?: BodyValue | undefined };

/** Encodes one event after the other into the same buffer. */
export class EventEncoder {
  readonly #writer = new Writer();

  /**
   * @param event validated by the schema
   * @returns a view that is valid until the next call
   */
  encode(event: EncodableEvent): Bytes {
    const writer = this.#writer;
    writer.reset();
    writer.head(MAP, event.evidence === undefined ? keys.length - 1 : keys.length);
    for (let i = 0; i < keys.length; i++) {
      const value = event[keys[i] as (typeof keys)[number]];
      if (value === undefined) continue;
      writer.append(encodedKeys[i] as Uint8Array);
      writer.value(value);
    }
    return writer.written();
  }
}

class Writer {
  #bytes = new Uint8Array(FIRST_LENGTH);
  #length = 0;

  reset(): void {
    this.#length = 0;
  }

  written(): Bytes {
    return this.#bytes.subarray(0, this.#length);
  }

  value(value: BodyValue): void {
    if (typeof value === 'string') this.text(value);
    else if (typeof value === 'number') {
      if (value < 0) this.head(NEGATIVE, -1 - value);
      else this.head(UNSIGNED, value);
    } else if (value === null) this.#byte(NULL);
    else if (typeof value === 'boolean') this.#byte(value ? TRUE : FALSE);
    else if (value instanceof Uint8Array) this.#raw(BYTES, value);
    else if (isList(value)) {
      this.head(LIST, value.length);
      for (const item of value) this.value(item);
    } else this.#map(value);
  }

  text(text: string): void {
    // Names are nearly always ASCII.
    this.#reserve(9 + text.length);
    const start = this.#length;
    this.head(TEXT, text.length);
    const bytes = this.#bytes;
    let length = this.#length;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code >= 0x80) {
        this.#length = start;
        this.#raw(TEXT, utf8(text));
        return;
      }
      bytes[length++] = code;
    }
    this.#length = length;
  }

  /** Header of an item in the shortest form: major type, and value or length. */
  head(major: number, value: number): void {
    this.#reserve(9);
    const type = major << 5;
    if (value < 24) this.#bytes[this.#length++] = type | value;
    else if (value < 0x100) this.#number(type | 24, value, 1);
    else if (value < 0x10000) this.#number(type | 25, value, 2);
    else if (value < 0x1_0000_0000) this.#number(type | 26, value, 4);
    else this.#number(type | 27, value, 8);
  }

  append(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #number(first: number, value: number, width: number): void {
    this.#bytes[this.#length] = first;
    let rest = value;
    for (let at = width; at > 0; at--) {
      this.#bytes[this.#length + at] = rest % 0x100;
      rest = Math.floor(rest / 0x100);
    }
    this.#length += 1 + width;
  }

  #map(map: { readonly [key: string]: BodyValue }): void {
    const names = Object.keys(map);
    sortNames(names);
    this.head(MAP, names.length);
    for (const name of names) {
      this.text(name);
      this.value(map[name] ?? null);
    }
  }

  #raw(major: number, bytes: Uint8Array): void {
    this.head(major, bytes.length);
    this.append(bytes);
  }

  #byte(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = byte;
  }

  #reserve(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const longer = new Uint8Array(2 * (this.#length + more));
    longer.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = longer;
  }
}

/** Sorts by insertion: maps of events have few names, and `Array.sort` allocates as much as the rest of an encoding. */
function sortNames(names: string[]): void {
  if (names.length > FEW) names.sort(byEncoding);
  else
    for (let i = 1; i < names.length; i++) {
      const name = names[i] as string;
      let at = i;
      for (; at > 0 && byEncoding(names[at - 1] as string, name) > 0; at--) names[at] = names[at - 1] as string;
      names[at] = name;
    }
}

/** Shorter texts first, because their encodings begin with the length. */
function byEncoding(a: string, b: string): number {
  if (isAscii(a) && isAscii(b)) return a.length - b.length || (a < b ? -1 : 1);
  const [left, right] = [utf8(a), utf8(b)];
  return left.length - right.length || compareBytes(left, right);
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) >= 0x80) return false;
  return true;
}

function isList(value: BodyValue): value is readonly BodyValue[] {
  return Array.isArray(value);
}
