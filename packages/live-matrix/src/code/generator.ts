import { utf8 } from '@millrace/base/core';
import { turboshake128 } from '@noble/hashes/sha3-addons.js';
import { MAX_BLOCK_HINTS } from '../parameters.ts';

/** 32-bit words in one column of the code: 512 bits. A block uses as many bits as it has parity. */
export const COLUMN_WORDS = 16;
/** One column per bit of the largest block: 342 hints of 3 bytes each. */
export const COLUMNS = MAX_BLOCK_HINTS * 24;

const GENERATOR_TEXT = 'millrace parity code 1';
const GENERATOR_DOMAIN = 0x50;

let columns: Uint32Array | undefined;

/**
 * The generator of the code, expanded once per thread: column c is words 16c to 16c+15 of TurboSHAKE128 over a fixed
 * string, read as little-endian words. It is public and a constant of the protocol.
 */
export function generatorColumns(): Uint32Array {
  columns ??= expand();
  return columns;
}

function expand(): Uint32Array {
  const bytes = turboshake128(utf8(GENERATOR_TEXT), { D: GENERATOR_DOMAIN, dkLen: COLUMNS * COLUMN_WORDS * 4 });
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Uint32Array.from({ length: COLUMNS * COLUMN_WORDS }, (_, i) => view.getUint32(4 * i, true));
}
