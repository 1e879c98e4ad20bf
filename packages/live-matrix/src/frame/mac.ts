import { createHmac } from 'node:crypto';
import { type Bytes, copyBytes, equalBytes } from '@millrace/base/core';
import { MAC_BYTES } from './header.ts';

/** HMAC-SHA256 (RFC 2104) over everything before it, cut to 16 bytes. */
export function frameMac(key: Uint8Array, bytes: Uint8Array): Bytes {
  return copyBytes(createHmac('sha256', key).update(bytes).digest().subarray(0, MAC_BYTES));
}

/** Constant-time check of the last 16 bytes of a frame. */
export function macHolds(key: Uint8Array, frame: Uint8Array): boolean {
  const end = frame.length - MAC_BYTES;
  return equalBytes(frameMac(key, frame.subarray(0, end)), frame.subarray(end));
}
