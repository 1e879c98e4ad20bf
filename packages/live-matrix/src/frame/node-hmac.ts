import { createHmac } from 'node:crypto';
import type { Hmac } from './mac.ts';

/** HMAC by OpenSSL. */
export const nodeHmac: Hmac = (key, bytes) => createHmac('sha256', key).update(bytes).digest();
