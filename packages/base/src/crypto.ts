import {
  createCipheriv,
  createDecipheriv,
  createECDH,
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  ECDH,
  hash,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { type Bytes, concatBytes, copyBytes, wipe } from './byte-arrays.ts';
import type { AgreementPair, Mac, SigningPair } from './crypto-types.ts';

// Cryptography from Node (OpenSSL). crypto-browser.ts has the same functions for browsers; one test compares both.

export type { AgreementPair, Mac, SigningPair } from './crypto-types.ts';

const CURVE = 'prime256v1';
const TAG_BYTES = 16;
const FIRST_BLOCK = Uint8Array.of(1);
const BLOCK_BYTES = 64;
const DIGEST_BYTES = 32;
/** Inputs of the two hashes of `hmacSha256OfPublic`. */
const inner = new Uint8Array(BLOCK_BYTES + 1024);
/** The beginning of `inner` for each length of a message: a new view costs more than a look-up. */
const innerViews: Uint8Array[] = [];
const outer = new Uint8Array(BLOCK_BYTES + DIGEST_BYTES);

/** SHA-256 over all parts, 32 bytes. */
export function sha256(...parts: readonly Uint8Array[]): Bytes {
  const [only, ...more] = parts;
  if (only !== undefined && more.length === 0) return copyBytes(hash('sha256', only, 'buffer'));
  const whole = createHash('sha256');
  for (const part of parts) whole.update(part);
  return copyBytes(whole.digest());
}

/**
 * `sha256` of bytes that need not be wiped, in less than half its time: the digest passes through a string, because a
 * Buffer costs more than hashing a few bytes.
 * @param out where to write the digest, from `at` on
 * @returns `out`
 */
export function sha256OfPublic(bytes: Uint8Array, out: Bytes = new Uint8Array(DIGEST_BYTES), at = 0): Bytes {
  copyLatin1(hash('sha256', bytes, 'binary'), out, at);
  return out;
}

/**
 * HMAC-SHA-256 (RFC 2104) with a key and a message that need not be wiped, in less than half the time of `hmacSha256`.
 * @param key at most 64 bytes
 * @param out where to write the result, 32 bytes from `at` on
 * @returns `out`
 */
export function hmacSha256OfPublic(
  key: Uint8Array,
  message: Uint8Array,
  out: Bytes = new Uint8Array(DIGEST_BYTES),
  at = 0,
): Bytes {
  if (key.length > BLOCK_BYTES) throw new RangeError(`a key has at most ${BLOCK_BYTES} bytes`);
  const first = innerOf(message.length);
  for (let i = 0; i < BLOCK_BYTES; i++) {
    const byte = i < key.length ? (key[i] as number) : 0;
    first[i] = byte ^ 0x36;
    outer[i] = byte ^ 0x5c;
  }
  first.set(message, BLOCK_BYTES);
  copyLatin1(hash('sha256', first, 'binary'), outer, BLOCK_BYTES);
  return sha256OfPublic(outer, out, at);
}

/** A buffer for one block and a message of this length. */
function innerOf(length: number): Uint8Array {
  const size = BLOCK_BYTES + length;
  if (size > inner.length) return new Uint8Array(size);
  const known = innerViews[length] ?? inner.subarray(0, size);
  innerViews[length] = known;
  return known;
}

function copyLatin1(text: string, bytes: Uint8Array, at: number): void {
  for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i);
}

/** HMAC-SHA-256. The key may be wiped as soon as this returns. */
export function hmacSha256(key: Uint8Array): Mac {
  const mac = createHmac('sha256', key);
  return { update: (bytes) => void mac.update(bytes), digest: () => copyBytes(mac.digest()) };
}

/**
 * HKDF-SHA-256 (RFC 5869), one block. `hkdfSync` of node:crypto gives the same result, but leaves a copy of its secret
 * in memory until it is garbage-collected; this function keeps no copy.
 * @param secret input keying material, in parts
 * @param salt may be empty
 * @returns 32 bytes
 */
export function hkdf(secret: readonly Uint8Array[], salt: Uint8Array, info: Uint8Array): Bytes {
  const extract = createHmac('sha256', salt);
  for (const part of secret) extract.update(part);
  const key = extract.digest();
  try {
    return copyBytes(createHmac('sha256', key).update(info).update(FIRST_BLOCK).digest());
  } finally {
    wipe(key);
  }
}

/** AES-256-GCM. @returns ciphertext ‖ tag(16) */
export function sealAes256Gcm(
  key: Uint8Array,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  associated?: Uint8Array,
): Bytes {
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  if (associated !== undefined) cipher.setAAD(associated);
  return concatBytes(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
}

/** @throws {Error} if the tag is wrong; no plaintext then stays in memory */
export function openAes256Gcm(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, associated?: Uint8Array): Bytes {
  if (sealed.length < TAG_BYTES) throw new RangeError('shorter than a tag');
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  if (associated !== undefined) decipher.setAAD(associated);
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  const plain = decipher.update(sealed.subarray(0, -TAG_BYTES));
  try {
    decipher.final();
    return copyBytes(plain);
  } finally {
    wipe(plain);
  }
}

/** A P-256 key pair. @throws {Error} if `secret` is not a scalar of the curve */
export function p256Pair(secret: Uint8Array): AgreementPair {
  const ecdh = createECDH(CURVE);
  ecdh.setPrivateKey(secret);
  const own = copyBytes(secret);
  const publicKey = copyBytes(ecdh.getPublicKey());
  let signingKey: KeyObject | undefined;
  return {
    publicKey,
    sign: (message) => {
      signingKey ??= p256PrivateKey(own, publicKey);
      return copyBytes(sign('sha256', message, { key: signingKey, dsaEncoding: 'ieee-p1363' }));
    },
    agree: (peer) => copyBytes(ecdh.computeSecret(peer)),
    wipe: () => wipe(own),
  };
}

/** 32 bytes: a scalar for `p256Pair`. */
export function generateP256Secret(): Bytes {
  const ecdh = createECDH(CURVE);
  ecdh.generateKeys();
  const raw = ecdh.getPrivateKey();
  const secret = new Uint8Array(32); // OpenSSL drops leading zeros
  secret.set(raw, 32 - raw.length);
  wipe(raw);
  return secret;
}

/** Whether these are 65 bytes that encode a point on P-256. */
export function isP256Point(point: Uint8Array): boolean {
  try {
    ECDH.convertKey(point, CURVE, undefined, undefined, 'uncompressed');
    return point.length === 65;
  } catch {
    return false;
  }
}

/** ECDSA with SHA-256, r ‖ s. @throws {Error} if the key is not an uncompressed point */
export function verifyP256(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 65 || publicKey[0] !== 4) throw new RangeError('not an uncompressed point');
  const [x, y] = [base64url(publicKey.subarray(1, 33)), base64url(publicKey.subarray(33))];
  const key = createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' });
  return verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
}

/** An Ed25519 key pair (RFC 8032). @param secret 32 bytes */
export function ed25519Pair(secret: Uint8Array): SigningPair {
  const der = concatBytes(Buffer.from('302e020100300506032b657004220420', 'hex'), secret);
  const key = createPrivateKey({ key: Buffer.from(der.buffer), format: 'der', type: 'pkcs8' });
  wipe(der);
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  return { publicKey: copyBytes(spki.subarray(-32)), sign: (message) => copyBytes(sign(null, message, key)) };
}

/** @throws {Error} if the key is not an Ed25519 key */
export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: base64url(publicKey) }, format: 'jwk' });
  return verify(null, message, key, signature);
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}

function p256PrivateKey(secret: Uint8Array, point: Uint8Array): KeyObject {
  // RFC 5915 ECPrivateKey, built as bytes so that the secret is never in a string.
  const der = Buffer.concat([
    Buffer.from('30770201010420', 'hex'),
    secret,
    Buffer.from('a00a06082a8648ce3d030107a144034200', 'hex'),
    point,
  ]);
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'sec1' });
  } finally {
    wipe(der);
  }
}
