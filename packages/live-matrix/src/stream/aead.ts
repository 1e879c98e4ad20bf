import { type Bytes, MillraceError, wipe } from '@millrace/base/core';

export const TAG_BYTES = 16;

/**
 * AES-256-GCM with numbers as nonces: 12 bytes, big-endian. Under one key every number is used for one message only.
 */
export interface Aead {
  seal(number: number, plain: Uint8Array): Promise<Bytes>;
  /** @throws {MillraceError} E_SEAL if it was altered, or sealed under another number or key */
  open(number: number, sealed: Uint8Array): Promise<Bytes>;
}

/** @param key 32 bytes; wiped */
export async function createAead(key: Bytes): Promise<Aead> {
  const imported = await crypto.subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt']);
  wipe(key);
  const parameters = (number: number) => {
    const iv = new Uint8Array(12);
    new DataView(iv.buffer).setBigUint64(4, BigInt(number));
    return { name: 'AES-GCM', iv, tagLength: 8 * TAG_BYTES };
  };
  return {
    seal: async (number, plain) =>
      new Uint8Array(await crypto.subtle.encrypt(parameters(number), imported, plain as Bytes)),
    open: async (number, sealed) => {
      try {
        return new Uint8Array(await crypto.subtle.decrypt(parameters(number), imported, sealed as Bytes));
      } catch (cause) {
        throw new MillraceError('E_SEAL', 'a part of the stream cannot be decrypted', { cause });
      }
    },
  };
}
