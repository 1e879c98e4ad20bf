import { type Bytes, copyBytes, equalBytes } from '@millrace/base/core';
import { MAC_BYTES } from './header.ts';

/** HMAC-SHA256 (RFC 2104), 32 bytes, from the platform, which is faster than an implementation in JavaScript. */
export type Hmac = (key: Uint8Array, bytes: Uint8Array) => Uint8Array;

/** HMAC over everything before it, truncated to 16 bytes. */
export function frameMac(hmac: Hmac, key: Uint8Array, bytes: Uint8Array): Bytes {
  return copyBytes(hmac(key, bytes).subarray(0, MAC_BYTES));
}

/** Constant-time check of the last 16 bytes of a frame. */
export function macHolds(hmac: Hmac, key: Uint8Array, frame: Uint8Array): boolean {
  const end = frame.length - MAC_BYTES;
  return equalBytes(frameMac(hmac, key, frame.subarray(0, end)), frame.subarray(end));
}
