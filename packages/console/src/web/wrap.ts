import { type Bytes, fromBase64, MillraceError, type RandomSource, toBase64, utf8, wipe } from '@millrace/base';
import { argon2id } from '@noble/hashes/argon2.js';

// The person's key at rest in a browser: AES-256-GCM under a key that only the passkey or the passphrase gives.

/** What opens the wrapped key. */
export type Unlock =
  /** HKDF key from the secret that a passkey has for our salt (WebAuthn PRF); not extractable. */
  | { readonly kind: 'passkey'; readonly key: CryptoKey }
  /** UTF-8; the caller wipes it. */
  | { readonly kind: 'passphrase'; readonly passphrase: Uint8Array };

export interface WrappedKey {
  readonly kind: Unlock['kind'];
  /** Base64: 32 bytes, input of the passkey and of both key derivations. */
  readonly salt: string;
  /** Base64: 12 bytes. */
  readonly iv: string;
  /** Base64: 32 bytes and the tag. */
  readonly sealed: string;
}

/** 64 MiB, once: more than OWASP asks for, and a few seconds on a phone. */
const ARGON = { t: 1, m: 65_536, p: 1, dkLen: 32 } as const;
const INFO = 'millrace console: wrapped user key, version 1';

/** @param about what the key belongs to: it cannot be moved to another entry */
export async function wrapKey(
  secret: Uint8Array,
  unlock: Unlock,
  { salt, about, random }: { readonly salt: Bytes; readonly about: string; readonly random: RandomSource },
): Promise<WrappedKey> {
  const iv = random(12);
  const key = await wrappingKey(unlock, salt);
  const parameters = { name: 'AES-GCM', iv, additionalData: utf8(about) };
  const sealed = new Uint8Array(await crypto.subtle.encrypt(parameters, key, new Uint8Array(secret)));
  return { kind: unlock.kind, salt: toBase64(salt), iv: toBase64(iv), sealed: toBase64(sealed) };
}

/** @returns 32 bytes; the caller wipes them. @throws {MillraceError} E_SEAL */
export async function unwrapKey(wrapped: WrappedKey, unlock: Unlock, about: string): Promise<Bytes> {
  const key = await wrappingKey(unlock, fromBase64(wrapped.salt));
  const parameters = { name: 'AES-GCM', iv: fromBase64(wrapped.iv), additionalData: utf8(about) };
  try {
    return new Uint8Array(await crypto.subtle.decrypt(parameters, key, fromBase64(wrapped.sealed)));
  } catch (cause) {
    const what = unlock.kind === 'passkey' ? 'the passkey is another one' : 'the passphrase is wrong';
    throw new MillraceError('E_SEAL', what, { cause });
  }
}

async function wrappingKey(unlock: Unlock, salt: Bytes): Promise<CryptoKey> {
  const aes = { name: 'AES-GCM', length: 256 };
  if (unlock.kind === 'passkey') {
    const hkdf = { name: 'HKDF', hash: 'SHA-256', salt, info: utf8(INFO) };
    return crypto.subtle.deriveKey(hkdf, unlock.key, aes, false, ['encrypt', 'decrypt']);
  }
  const raw = new Uint8Array(argon2id(unlock.passphrase, salt, ARGON));
  try {
    return await crypto.subtle.importKey('raw', raw, aes, false, ['encrypt', 'decrypt']);
  } finally {
    wipe(raw);
  }
}
