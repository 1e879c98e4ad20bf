import { createPublicKey, verify as nodeVerify } from 'node:crypto';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import type { Verify } from './cose.ts';

/** ES256K by @noble/curves (low-S only), ES256 and EdDSA by OpenSSL. */
export const verifySignature: Verify = (algorithm, publicKey, message, signature) => {
  try {
    switch (algorithm) {
      case 'ES256K':
        return secp256k1.verify(signature, message, publicKey);
      case 'ES256':
        return nodeVerify('sha256', message, { key: p256PublicKey(publicKey), dsaEncoding: 'ieee-p1363' }, signature);
      case 'EdDSA':
        return nodeVerify(null, message, ed25519PublicKey(publicKey), signature);
    }
  } catch {
    return false; // a malformed key or signature verifies nothing
  }
};

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}

function p256PublicKey(point: Uint8Array) {
  if (point.length !== 65 || point[0] !== 4) throw new RangeError('not an uncompressed point');
  const key = { kty: 'EC', crv: 'P-256', x: base64url(point.subarray(1, 33)), y: base64url(point.subarray(33)) };
  return createPublicKey({ key, format: 'jwk' });
}

function ed25519PublicKey(bytes: Uint8Array) {
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: base64url(bytes) }, format: 'jwk' });
}
