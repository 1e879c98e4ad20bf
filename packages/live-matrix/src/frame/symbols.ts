import type { Bytes } from '@millrace/base/core';

/** Converts bytes to values of `width` bytes each, little-endian. The length must be a multiple of `width`. */
export function readValues(bytes: Uint8Array, width: number): Uint32Array {
  const values = new Uint32Array(bytes.length / width);
  for (let i = 0, at = 0; i < values.length; i++) {
    let value = bytes[at++] ?? 0;
    if (width > 1) value |= (bytes[at++] ?? 0) << 8;
    if (width > 2) value |= (bytes[at++] ?? 0) << 16;
    if (width > 3) value |= (bytes[at++] ?? 0) << 24;
    values[i] = value;
  }
  return values;
}

/** The reverse: the low `width` bytes of every value. */
export function writeValues(values: Uint32Array, width: number, out: Bytes): void {
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? 0;
    for (let j = 0; j < width; j++) out[i * width + j] = value >>> (8 * j);
  }
}
