import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import type { Hmac } from '../frame/mac.ts';

/** HMAC in JavaScript: WebCrypto is asynchronous and does not accept shared memory. */
export const webHmac: Hmac = (key, bytes) => hmac(sha256, key, bytes);
