import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Bytes, toHex } from '@millrace/base';

/** Reads a file of vectors/vault, which a second implementation wrote. */
export function readVectors<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../../vectors/vault/${name}`, import.meta.url), 'utf8')) as T;
}

/** The plaintext of the vectors' design. */
export function pattern(length: number): Bytes {
  return Uint8Array.from({ length }, (_, i) => 7 * i + Math.floor(i / 256));
}

export interface Short {
  readonly length: number;
  readonly first32: string;
  readonly last32: string;
  readonly sha256: string;
}

export function short(bytes: Uint8Array): Short {
  return {
    length: bytes.length,
    first32: toHex(bytes.subarray(0, 32)),
    last32: toHex(bytes.subarray(-32)),
    sha256: createHash('sha256').update(bytes).digest('hex'),
  };
}
