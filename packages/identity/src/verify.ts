import { verifyEd25519, verifyP256 } from '@millrace/base/crypto';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import type { Verify } from './cose.ts';

/** ES256K by @noble/curves (low-S only); ES256 and EdDSA by OpenSSL, in browsers by @noble/curves. */
export const verifySignature: Verify = (algorithm, publicKey, message, signature) => {
  try {
    switch (algorithm) {
      case 'ES256K':
        return secp256k1.verify(signature, message, publicKey);
      case 'ES256':
        return verifyP256(publicKey, message, signature);
      case 'EdDSA':
        return verifyEd25519(publicKey, message, signature);
    }
  } catch {
    return false; // a malformed key or signature is invalid
  }
};
