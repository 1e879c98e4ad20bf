import { gcm } from '@noble/ciphers/aes.js';
import { ed25519 } from '@noble/curves/ed25519.js';
import { p256 } from '@noble/curves/nist.js';
import { hkdf as nobleHkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js';
import { type Bytes, concatBytes, copyBytes, wipe } from './byte-arrays.ts';
import type { AgreementPair, Mac, SigningPair } from './crypto-types.ts';

// The browser's counterpart of crypto.ts, in JavaScript: WebCrypto has no synchronous calls.

export type { AgreementPair, Mac, SigningPair } from './crypto-types.ts';

export function sha256(...parts: readonly Uint8Array[]): Bytes {
  const hash = nobleSha256.create();
  for (const part of parts) hash.update(part);
  return copyBytes(hash.digest());
}

export function sha256OfPublic(bytes: Uint8Array, out: Bytes = new Uint8Array(32), at = 0): Bytes {
  out.set(sha256(bytes), at);
  return out;
}

export function hmacSha256OfPublic(
  key: Uint8Array,
  message: Uint8Array,
  out: Bytes = new Uint8Array(32),
  at = 0,
): Bytes {
  if (key.length > 64) throw new RangeError('a key has at most 64 bytes');
  out.set(hmac(nobleSha256, key, message), at);
  return out;
}

export function hmacSha256(key: Uint8Array): Mac {
  const mac = hmac.create(nobleSha256, key);
  return { update: (bytes) => void mac.update(bytes), digest: () => copyBytes(mac.digest()) };
}

export function hkdf(secret: readonly Uint8Array[], salt: Uint8Array, info: Uint8Array): Bytes {
  const whole = concatBytes(...secret);
  try {
    return copyBytes(nobleHkdf(nobleSha256, whole, salt, info, 32));
  } finally {
    wipe(whole);
  }
}

export function sealAes256Gcm(
  key: Uint8Array,
  nonce: Uint8Array,
  plaintext: Uint8Array,
  associated?: Uint8Array,
): Bytes {
  return copyBytes(gcm(key, nonce, associated).encrypt(plaintext));
}

export function openAes256Gcm(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, associated?: Uint8Array): Bytes {
  return copyBytes(gcm(key, nonce, associated).decrypt(sealed));
}

export function p256Pair(secret: Uint8Array): AgreementPair {
  const own = copyBytes(secret);
  return {
    publicKey: copyBytes(p256.getPublicKey(own, false)),
    sign: (message) => copyBytes(p256.sign(message, own, { lowS: false })),
    agree: (peer) => copyBytes(p256.getSharedSecret(own, peer).subarray(1)),
    wipe: () => wipe(own),
  };
}

export function generateP256Secret(): Bytes {
  return copyBytes(p256.utils.randomSecretKey());
}

export function isP256Point(point: Uint8Array): boolean {
  return point.length === 65 && p256.utils.isValidPublicKey(point, false);
}

export function verifyP256(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 65 || publicKey[0] !== 4) throw new RangeError('not an uncompressed point');
  return p256.verify(signature, message, publicKey, { lowS: false });
}

export function ed25519Pair(secret: Uint8Array): SigningPair {
  const own = copyBytes(secret);
  return { publicKey: copyBytes(ed25519.getPublicKey(own)), sign: (message) => copyBytes(ed25519.sign(message, own)) };
}

export function verifyEd25519(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  return ed25519.verify(signature, message, publicKey, { zip215: false });
}
