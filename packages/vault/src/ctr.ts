import { createCipheriv } from 'node:crypto';

const ZERO_COUNTER = new Uint8Array(16);

/** AES-256-CTR from counter 0. The cipher is finalised so that the key does not stay in OpenSSL's context. */
export function ctr(key: Uint8Array, bytes: Uint8Array): Buffer {
  const cipher = createCipheriv('aes-256-ctr', key, ZERO_COUNTER);
  const out = cipher.update(bytes);
  cipher.final();
  return out;
}
