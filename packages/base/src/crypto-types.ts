import type { Bytes } from './byte-arrays.ts';

/** A message authentication code, fed in parts. */
export interface Mac {
  update(bytes: Uint8Array): void;
  /** Call this once. */
  digest(): Bytes;
}

export interface SigningPair {
  readonly publicKey: Bytes;
  /** 64 bytes. */
  sign(message: Uint8Array): Bytes;
}

export interface AgreementPair extends SigningPair {
  /**
   * The x coordinate shared with the uncompressed point, 32 bytes.
   * @throws {Error} if it is not a point on the curve
   */
  agree(peer: Uint8Array): Bytes;
  /** Overwrites the secret. */
  wipe(): void;
}
