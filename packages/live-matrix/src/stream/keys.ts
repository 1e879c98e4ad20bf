import { type Bytes, concatBytes, copyBytes, u32be, u64be, utf8, wipe } from '@millrace/base/core';
import { expand, extract, hkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { SEED_BYTES, SESSION_ID_BYTES } from '../parameters.ts';

/** Minimum length of a live stream's secret, bytes. */
export const MIN_SECRET_BYTES = 32;
export const OPENING_MAC_BYTES = 32;

/** Keys of one stream. Each has a single use. */
export interface LiveKeys {
  readonly sessionId: Bytes;
  /** First secret of the ratchet. */
  readonly seed: Bytes;
  /** AES-256-GCM key of the cells. */
  readonly cells: Bytes;
  /** AES-256-GCM keys of the notes: from the sender, from the receiver. */
  readonly fromSender: Bytes;
  readonly fromReceiver: Bytes;
}

/** MAC of an opening message, so that only a peer with the secret gets an answer or causes work. */
export function openingMac(secret: Uint8Array, label: 'hello' | 'answer', message: Uint8Array): Bytes {
  const key = hkdf(sha256, secret, undefined, utf8(`millrace live stream 1 ${label}`), 32);
  const mac = copyBytes(hmac(sha256, key, message));
  wipe(key);
  return mac;
}

/**
 * @param secret shared by both ends in advance
 * @param shared Diffie-Hellman secret of the opening; gives forward secrecy if `secret` leaks later
 * @param opening both opening messages as sent; they make the keys of two streams under one secret unrelated
 */
export function deriveLiveKeys(secret: Uint8Array, shared: Uint8Array, opening: Uint8Array): LiveKeys {
  const material = concatBytes(u32be(secret.length), secret, u32be(shared.length), shared);
  const root = extract(sha256, material, sha256(opening));
  const part = (label: string, length: number) =>
    copyBytes(expand(sha256, root, utf8(`millrace live stream 1 ${label}`), length));
  const keys = {
    sessionId: part('session', SESSION_ID_BYTES),
    seed: part('seed', SEED_BYTES),
    cells: part('cells', 32),
    fromSender: part('from sender', 32),
    fromReceiver: part('from receiver', 32),
  };
  wipe(material, root);
  return keys;
}

/** Secret to mix into the ratchet before `revision`, 32 bytes. Wipes `shared`. */
export function mixSecret(sessionId: Uint8Array, revision: bigint, shared: Uint8Array): Bytes {
  const info = concatBytes(utf8('millrace live stream 1 mix'), u64be(revision));
  const secret = copyBytes(hkdf(sha256, shared, sessionId, info, 32));
  wipe(shared);
  return secret;
}
