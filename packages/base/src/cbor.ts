import { decode, decodeFirst, encode, rfc8949EncodeOptions } from 'cborg';
import { type Bytes, compareBytes, copyBytes } from '#bytes';
import type { ErrorCode } from './codes.ts';
import { MillraceError } from './errors.ts';

/** CBOR values used by Millrace. Maps have string keys (integers in COSE headers); floats are not encoded. */
export type CborValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly CborValue[]
  | { readonly [key: string]: CborValue | undefined }
  | ReadonlyMap<number, CborValue>;

/** Deterministic CBOR (RFC 8949, 4.2.1). Undefined properties are omitted. */
export function encodeCbor(value: CborValue): Bytes {
  const bytes = encode(value, { ...rfc8949EncodeOptions, ignoreUndefinedProperties: true });
  // Short results may share a buffer with others, so they are copied. Megabytes are not copied.
  return bytes.length === bytes.buffer.byteLength ? bytes : copyBytes(bytes);
}

/**
 * Strict decoding: exactly one item in its deterministic encoding.
 * @throws {MillraceError} `code` (default E_INPUT) for anything else
 */
export function decodeCbor(bytes: Uint8Array, what: string, code: ErrorCode = 'E_INPUT'): unknown {
  return decodeStrictly(bytes, what, code, false);
}

/** Like `decodeCbor`, but decodes maps to `Map`s: for headers with integer keys. */
export function decodeCborMap(bytes: Uint8Array, what: string, code: ErrorCode = 'E_INPUT'): unknown {
  return decodeStrictly(bytes, what, code, true);
}

/**
 * Decodes the first item, in any encoding, maps as `Map`s: for data of others, which is not signed.
 * @returns the item and what follows it
 * @throws {MillraceError} E_INPUT
 */
export function decodeForeignCbor(bytes: Uint8Array, what: string): readonly [value: unknown, rest: Uint8Array] {
  try {
    return decodeFirst(bytes, { useMaps: true });
  } catch (cause) {
    throw new MillraceError('E_INPUT', `${what}: not CBOR`, { cause });
  }
}

function decodeStrictly(bytes: Uint8Array, what: string, code: ErrorCode, useMaps: boolean): unknown {
  let value: unknown;
  let again: Uint8Array;
  try {
    value = decode(bytes, {
      strict: true,
      allowIndefinite: false,
      allowUndefined: false,
      allowNaN: false,
      allowInfinity: false,
      rejectDuplicateMapKeys: true,
      useMaps,
    });
    // Some decoded values cannot be encoded: maps whose keys are lists, or too deep nesting.
    again = encode(value, rfc8949EncodeOptions);
  } catch (cause) {
    throw new MillraceError(code, `${what}: not CBOR`, { cause });
  }
  if (compareBytes(again, bytes) !== 0) throw new MillraceError(code, `${what}: not in deterministic encoding`);
  return value;
}
