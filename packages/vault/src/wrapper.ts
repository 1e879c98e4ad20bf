import { createCipheriv, createDecipheriv } from 'node:crypto';
import { open, readFile } from 'node:fs/promises';
import {
  type Bytes,
  concatBytes,
  copyBytes,
  MillraceError,
  type RandomSource,
  systemRandom,
  wipe,
} from '@millrace/base';
import { hold, secretMemory } from '@millrace/live-matrix';
import { KEY_BYTES } from './sizes.ts';

/** The node's key-encrypting key, in a file or elsewhere. */
export interface KeyWrapper {
  /** @returns at most 61 bytes for a 32-byte secret */
  wrap(secret: Uint8Array, context: Uint8Array): Promise<Bytes>;
  /** @throws {MillraceError} E_SEAL if it was altered, or wrapped under another key or context */
  unwrap(wrapped: Uint8Array, context: Uint8Array): Promise<Bytes>;
  close(): Promise<void>;
}

const VERSION = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** nonce(12) ‖ AES-256-GCM ciphertext ‖ tag(16), under a key that seals many secrets. */
export function sealWith(key: Uint8Array, secret: Uint8Array, context: Uint8Array, random: RandomSource): Bytes {
  const nonce = random(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(context);
  return concatBytes(nonce, cipher.update(secret), cipher.final(), cipher.getAuthTag());
}

/** @throws {MillraceError} E_SEAL */
export function openWith(key: Uint8Array, sealed: Uint8Array, context: Uint8Array): Bytes {
  if (sealed.length < NONCE_BYTES + TAG_BYTES) throw new MillraceError('E_SEAL', 'a wrapped key is too short');
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(context);
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  const plain = decipher.update(sealed.subarray(NONCE_BYTES, sealed.length - TAG_BYTES));
  try {
    decipher.final();
    return copyBytes(plain);
  } catch (cause) {
    throw new MillraceError('E_SEAL', 'a wrapped key cannot be unwrapped', { cause });
  } finally {
    wipe(plain);
  }
}

/** @param key 32 bytes; copied */
export function createKeyWrapper(key: Uint8Array, random: RandomSource = systemRandom): KeyWrapper {
  if (key.length !== KEY_BYTES) throw new MillraceError('E_CONFIG', 'a key-encrypting key has 32 bytes');
  const memory = secretMemory();
  const own = hold(memory, copyBytes(key));
  return {
    wrap: async (secret, context) => concatBytes(Uint8Array.of(VERSION), sealWith(own, secret, context, random)),
    unwrap: async (wrapped, context) => {
      if (wrapped[0] !== VERSION) throw new MillraceError('E_SEAL', 'a wrapped key has an unknown format');
      return openWith(own, wrapped.subarray(1), context);
    },
    close: async () => memory.give(own),
  };
}

/**
 * The key in a file of 32 bytes, mode 0600, created if missing.
 * @throws {MillraceError} E_CONFIG if the file is not such a key
 */
export async function openFileKeyWrapper(path: string, random: RandomSource = systemRandom): Promise<KeyWrapper> {
  try {
    const file = await open(path, 'wx', 0o600);
    const fresh = random(KEY_BYTES);
    try {
      await file.writeFile(fresh);
      await file.sync();
    } finally {
      wipe(fresh);
      await file.close();
    }
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'EEXIST')) {
      throw new MillraceError('E_CONFIG', `cannot create ${path}`, { data: { path }, cause });
    }
  }
  const key = await readFile(path).catch((cause: unknown) => {
    throw new MillraceError('E_CONFIG', `cannot read ${path}`, { data: { path }, cause });
  });
  try {
    if (key.length !== KEY_BYTES)
      throw new MillraceError('E_CONFIG', `${path} is not a 32-byte key`, { data: { path } });
    return createKeyWrapper(key, random);
  } finally {
    wipe(key);
  }
}
