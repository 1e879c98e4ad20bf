import { decode, encode, rfc8949EncodeOptions } from 'cborg';
import { type Bytes, compareBytes, copyBytes } from '#bytes';
import type { ErrorCode } from './codes.ts';
import { MillraceError } from './errors.ts';

/** What deterministic CBOR carries here: maps have string keys (integers in COSE headers), no floats are made by us. */
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

/** Deterministic CBOR (RFC 8949, 4.2.1). Properties that are undefined are left out. */
export function encodeCbor(value: CborValue): Bytes {
  const bytes = encode(value, { ...rfc8949EncodeOptions, ignoreUndefinedProperties: true });
  // Short ones may lie in memory that others use, too; megabytes are not copied once more.
  return bytes.length === bytes.buffer.byteLength ? bytes : copyBytes(bytes);
}

/**
 * Strict decoding: exactly one item, in its one deterministic encoding.
 * @throws {MillraceError} `code` (E_INPUT unless told) for anything else.
 */
export function decodeCbor(bytes: Uint8Array, what: string, code: ErrorCode = 'E_INPUT'): unknown {
  return decodeStrictly(bytes, what, code, false);
}

/** As `decodeCbor`, with maps as `Map`s: for headers with integer keys. */
export function decodeCborMap(bytes: Uint8Array, what: string, code: ErrorCode = 'E_INPUT'): unknown {
  return decodeStrictly(bytes, what, code, true);
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
    // Not everything that can be read can be written: maps whose keys are lists, nesting past the stack.
    again = encode(value, rfc8949EncodeOptions);
  } catch (cause) {
    throw new MillraceError(code, `${what}: not CBOR`, { cause });
  }
  if (compareBytes(again, bytes) !== 0) throw new MillraceError(code, `${what}: not in deterministic encoding`);
  return value;
}
