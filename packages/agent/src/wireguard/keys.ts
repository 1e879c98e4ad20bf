import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { open, stat } from 'node:fs/promises';
import {
  type Bytes,
  copyBytes,
  fileExists,
  MillraceError,
  type RandomSource,
  wipe,
  writeDurably,
} from '@millrace/base';

// Keys of WireGuard are X25519 (RFC 7748), written in base64 (RFC 4648). Private keys are kept in bytes, which can be
// wiped, and never in strings.

export const KEY_BYTES = 32;
const ALPHABET = new TextEncoder().encode('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');
const PADDING = 0x3d;
/** 32 bytes in base64. */
export const KEY_TEXT_BYTES = 44;
/** PrivateKeyInfo of X25519 (RFC 8410, 7) before the key. */
const PKCS8 = Uint8Array.of(
  0x30,
  0x2e,
  0x02,
  0x01,
  0x00,
  0x30,
  0x05,
  0x06,
  0x03,
  0x2b,
  0x65,
  0x6e,
  0x04,
  0x22,
  0x04,
  0x20,
);

/** @param key 32 bytes @returns 44 bytes of ASCII */
export function keyToText(key: Uint8Array): Bytes {
  const text = new Uint8Array(KEY_TEXT_BYTES).fill(PADDING);
  for (let bit = 0, at = 0; bit < 8 * KEY_BYTES; bit += 6, at++) {
    const first = bit >> 3;
    const pair = ((key[first] ?? 0) << 8) | (key[first + 1] ?? 0);
    text[at] = ALPHABET[(pair >> (10 - (bit & 7))) & 63] ?? 0;
  }
  return text;
}

/** @returns undefined if the text is not 32 bytes in canonical base64 */
export function keyFromText(text: Uint8Array): Bytes | undefined {
  if (text.length !== KEY_TEXT_BYTES || text[KEY_TEXT_BYTES - 1] !== PADDING) return undefined;
  // One byte more, for the two bits behind the key.
  const bytes = new Uint8Array(KEY_BYTES + 1);
  for (let at = 0; at < KEY_TEXT_BYTES - 1; at++) {
    const value = ALPHABET.indexOf(text[at] ?? 0);
    if (value < 0) {
      wipe(bytes);
      return undefined;
    }
    const first = (at * 6) >> 3;
    const shifted = value << (10 - ((at * 6) & 7));
    bytes[first] = (bytes[first] ?? 0) | (shifted >> 8);
    bytes[first + 1] = (bytes[first + 1] ?? 0) | (shifted & 0xff);
  }
  const key = copyBytes(bytes.subarray(0, KEY_BYTES));
  const canonical = bytes[KEY_BYTES] === 0;
  wipe(bytes);
  if (canonical) return key;
  wipe(key);
  return undefined;
}

/** The text of a public key, as people write it. */
export const publicText = (key: Uint8Array): string => new TextDecoder().decode(keyToText(key));

/** @throws {MillraceError} E_INPUT */
export function publicKeyIn(text: string, what: string): Bytes {
  const key = keyFromText(new TextEncoder().encode(text));
  if (key === undefined) throw new MillraceError('E_INPUT', `${what}: not a key of WireGuard (32 bytes in base64)`);
  return key;
}

export function publicKeyOf(privateKey: Uint8Array): Bytes {
  const der = Buffer.concat([PKCS8, privateKey]);
  try {
    const spki = createPublicKey(keyObject(der)).export({ type: 'spki', format: 'der' });
    return copyBytes(spki.subarray(spki.length - KEY_BYTES));
  } finally {
    wipe(der);
  }
}

const keyObject = (der: Buffer): KeyObject => createPrivateKey({ key: der, type: 'pkcs8', format: 'der' });

/**
 * Makes a key pair. The private key is written to a new file that only its owner may read.
 * @returns the public key
 * @throws {MillraceError} E_CONFLICT if the file exists
 */
export async function createKeyFile(path: string, random: RandomSource): Promise<Bytes> {
  if (await fileExists(path)) throw new MillraceError('E_CONFLICT', `${path} exists: a key is never replaced`);
  const key = random(KEY_BYTES);
  // As `wg genkey` writes it (RFC 7748, 5: decodeScalar25519).
  key[0] = (key[0] ?? 0) & 0xf8;
  key[31] = ((key[31] ?? 0) & 0x7f) | 0x40;
  const text = keyToText(key);
  const line = new Uint8Array(KEY_TEXT_BYTES + 1).fill(0x0a);
  line.set(text);
  try {
    await writeDurably(path, line);
    return publicKeyOf(key);
  } finally {
    wipe(key, text, line);
  }
}

/** @returns 32 bytes; the caller wipes them @throws {MillraceError} E_CONFIG */
export async function readKeyFile(path: string): Promise<Bytes> {
  await requirePrivate(path);
  const text = new Uint8Array(KEY_TEXT_BYTES + 2);
  const file = await open(path, 'r');
  try {
    const { bytesRead } = await file.read(text, 0, text.length);
    const end = text[bytesRead - 1] === 0x0a ? bytesRead - 1 : bytesRead;
    const key = keyFromText(text.subarray(0, end));
    if (key === undefined) throw new MillraceError('E_CONFIG', `${path} holds no key of WireGuard`);
    return key;
  } finally {
    wipe(text);
    await file.close();
  }
}

/** @throws {MillraceError} E_CONFIG if the file is missing, or others may read it */
async function requirePrivate(path: string): Promise<void> {
  const { mode } = await stat(path).catch((cause: unknown) => {
    throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
  });
  if (othersMayRead(mode)) throw new MillraceError('E_CONFIG', `others may read ${path}: run chmod 600 ${path}`);
}

export const othersMayRead = (mode: number): boolean => (mode & 0o077) !== 0;
