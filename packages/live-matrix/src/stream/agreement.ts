import { type Bytes, MillraceError } from '@millrace/base/core';

/** Uncompressed point on P-256. */
export const POINT_BYTES = 65;

const curve = { name: 'ECDH', namedCurve: 'P-256' } as const;

/** One half of a Diffie-Hellman exchange. Its secret stays inside WebCrypto and cannot be exported. */
export interface FreshPoint {
  /** This end's point, to be sent to the other end, 65 bytes. */
  readonly point: Bytes;
  /**
   * The shared secret, 32 bytes; the caller wipes it.
   * @throws {MillraceError} E_FRAME_FORMAT if `peer` is not a point on the curve
   */
  agree(peer: Uint8Array): Promise<Bytes>;
}

export async function freshPoint(): Promise<FreshPoint> {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(curve, false, ['deriveBits']);
  return {
    point: new Uint8Array(await crypto.subtle.exportKey('raw', publicKey)),
    agree: async (peer) => {
      try {
        const theirs = await crypto.subtle.importKey('raw', new Uint8Array(peer), curve, false, []);
        return new Uint8Array(await crypto.subtle.deriveBits({ name: 'ECDH', public: theirs }, privateKey, 256));
      } catch (cause) {
        throw new MillraceError('E_FRAME_FORMAT', 'the other end did not send a point on P-256', { cause });
      }
    },
  };
}
