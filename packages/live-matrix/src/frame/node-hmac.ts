import { createHmac } from 'node:crypto';
import type { Hmac } from './mac.ts';

/** OpenSSL's. */
export const nodeHmac: Hmac = (key, bytes) => createHmac('sha256', key).update(bytes).digest();
