import {
  type Bytes,
  copyBytes,
  hkdf,
  MillraceError,
  type RandomSource,
  systemRandom,
  toHex,
  utf8,
  wipe,
} from '@millrace/base';
import { type AgreementPair, generateP256Secret, p256Pair, sha256 } from '@millrace/base/crypto';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import type { Signer } from './cose.ts';

/** First 16 bytes of SHA-256 of the public key. Identifies keys, users and machines. */
export function keyId(publicKey: Uint8Array): Bytes {
  return copyBytes(sha256(publicKey).subarray(0, 16));
}

/** `keyId` in hexadecimal. */
export function keyName(publicKey: Uint8Array): string {
  return toHex(keyId(publicKey));
}

/** A key in this process's memory. `close` wipes it. */
export interface MemorySigner extends Signer {
  /** Copy of the 32 secret bytes, for writing to a file; the caller wipes it. */
  exportSecret(): Bytes;
  close(): void;
}

/** A user's secp256k1 key (ES256K). */
export function userKey(secret: Uint8Array): MemorySigner {
  if (!secp256k1.utils.isValidSecretKey(secret)) throw new MillraceError('E_INPUT', 'not a secp256k1 secret key');
  const own = copyBytes(secret);
  return {
    algorithm: 'ES256K',
    publicKey: copyBytes(secp256k1.getPublicKey(own)),
    sign: async (message) => copyBytes(secp256k1.sign(message, own)),
    exportSecret: () => copyBytes(own),
    close: () => wipe(own),
  };
}

export function generateUserKey(random: RandomSource = systemRandom): MemorySigner {
  return userKey(secp256k1.utils.randomSecretKey(random(48)));
}

/** A PKCS #11 token as it describes itself (CK_TOKEN_INFO). */
export interface TokenIdentity {
  readonly manufacturer: string;
  readonly model: string;
  readonly serial: string;
  /** Whether the module says that the slot is a hardware device (CKF_HW_SLOT). */
  readonly hardware: boolean;
}

/** A monotonic counter (CKH_MONOTONIC_COUNTER): each read gives the number after the one that the last read gave. */
export interface TokenCounter {
  /** What it said when the machine's key was made, or when an administrator last accepted the machine's state. */
  readonly since: number;
  /** @throws {MillraceError} E_HSM */
  read(): Promise<number>;
}

/** The machine's identity, in a file or a PKCS#11 token. The secret key signs and agrees, and is never exported. */
export interface MachineKey extends Signer {
  readonly algorithm: 'ES256';
  readonly storage: 'file' | 'pkcs11';
  /** Only of a key in a token. */
  readonly token?: {
    readonly identity: TokenIdentity;
    /** Aborted with E_HSM once the token is gone or has another key. The key cannot be used again. */
    readonly lost: AbortSignal;
    /** Requires that the token still signs with this key. @throws {MillraceError} E_HSM */
    check(): Promise<void>;
    /** Only if the token has a monotonic counter that this machine alone uses. */
    readonly counter?: TokenCounter | undefined;
  };
  /** P-256 Diffie-Hellman with an uncompressed 65-byte point: the shared 32-byte x coordinate. The caller wipes it. */
  agree(peer: Uint8Array): Promise<Bytes>;
  close(): void;
}

/** P-256 key in memory: machine identity from a file, permit key, or ephemeral key. */
export interface P256Key extends MachineKey {
  exportSecret(): Bytes;
}

/** @throws {MillraceError} E_INPUT if `secret` is not a P-256 scalar */
export function p256Key(secret: Uint8Array): P256Key {
  let pair: AgreementPair;
  try {
    pair = p256Pair(secret);
  } catch (cause) {
    throw new MillraceError('E_INPUT', 'not a P-256 secret key', { cause });
  }
  const own = copyBytes(secret);
  return {
    algorithm: 'ES256',
    storage: 'file',
    publicKey: pair.publicKey,
    sign: async (message) => pair.sign(message),
    agree: async (peer) => {
      try {
        return pair.agree(peer);
      } catch (cause) {
        throw new MillraceError('E_INPUT', 'not a point on P-256', { cause });
      }
    },
    exportSecret: () => copyBytes(own),
    close: () => {
      pair.wipe();
      wipe(own);
    },
  };
}

const SEALING_LABEL = 'millrace/v1/telemetry-key';

/**
 * The P-256 key to which machines seal data for the owner. It is derived from the owner's 32-byte secp256k1 secret
 * (HKDF-SHA256, then one candidate scalar per block until one is valid), so every device with that secret has it.
 */
export function ownerSealingKey(secret: Uint8Array): P256Key {
  for (let attempt = 0; ; attempt++) {
    const info = utf8(`${SEALING_LABEL}${attempt === 0 ? '' : `/${attempt}`}`);
    const candidate = hkdf([secret], new Uint8Array(), info);
    try {
      return p256Key(candidate);
    } catch (error) {
      // One in 2^32 candidates is not below the group's order.
      if (attempt === 8) throw error;
    } finally {
      wipe(candidate);
    }
  }
}

export function generateP256Key(): P256Key {
  const secret = generateP256Secret();
  const key = p256Key(secret);
  wipe(secret);
  return key;
}
