import { Aes256Gcm, CipherSuite, DhkemP256HkdfSha256, HkdfSha256 } from '@hpke/core';
import { type Bytes, concatBytes, copyBytes, MillraceError, u32be, utf8, wipe } from '@millrace/base';
import { isP256Point, openAes256Gcm, sealAes256Gcm } from '@millrace/base/crypto';
import type { P256Key } from './keys.ts';

const suite = new CipherSuite({ kem: new DhkemP256HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const EXPORTER = utf8('millrace/v1/numbered').buffer;
const ENC_BYTES = 65;
const TAG_BYTES = 16;
const HEADER_BYTES = ENC_BYTES + 4;

/** Overhead of a sealed message, bytes. */
export const NUMBERED_OVERHEAD = HEADER_BYTES + TAG_BYTES;

/** Whether it is a valid public key for sealing: an uncompressed point on P-256. */
export function isSealingPoint(point: Uint8Array): boolean {
  return isP256Point(point);
}

/** Seals many messages to one key. Each can be opened independently of the others. */
export interface NumberedSealing {
  /** enc(65) ‖ number(u32) ‖ ciphertext ‖ tag(16); numbers from 0, each used once. */
  seal(plaintext: Uint8Array): Bytes;
  /** Wipes the key. */
  close(): void;
}

/**
 * One HPKE context (RFC 9180, base mode) whose exported secret is a key for AES-256-GCM, nonce = number. Messages of
 * the context itself could be opened only in order.
 * @throws {MillraceError} E_INPUT if `recipient` is not a point on P-256
 */
export async function createNumberedSealing(recipient: Uint8Array, info: Uint8Array): Promise<NumberedSealing> {
  let key: Bytes;
  let enc: Bytes;
  try {
    const recipientPublicKey = await suite.kem.deserializePublicKey(copyBytes(recipient).buffer);
    const context = await suite.createSenderContext({ recipientPublicKey, info: copyBytes(info).buffer });
    key = new Uint8Array(await context.export(EXPORTER, 32));
    enc = new Uint8Array(context.enc);
  } catch (cause) {
    throw new MillraceError('E_INPUT', 'the key cannot be used for sealing', { cause });
  }
  let number = 0;
  return {
    seal: (plaintext) => {
      const header = concatBytes(enc, u32be(number));
      return concatBytes(header, sealAes256Gcm(key, nonceOf(number++), plaintext));
    },
    close: () => wipe(key),
  };
}

/** @throws {MillraceError} E_SEAL if altered, sealed to another key, or for another purpose */
export async function openNumbered(
  recipient: P256Key,
  info: Uint8Array,
  sealed: Uint8Array,
): Promise<{ number: number; plaintext: Bytes }> {
  const secret = recipient.exportSecret();
  let key: Bytes | undefined;
  try {
    const context = await suite.createRecipientContext({
      recipientKey: await suite.kem.deserializePrivateKey(secret.buffer),
      enc: copyBytes(sealed.subarray(0, ENC_BYTES)).buffer,
      info: copyBytes(info).buffer,
    });
    key = new Uint8Array(await context.export(EXPORTER, 32));
    const number = new DataView(sealed.buffer, sealed.byteOffset, HEADER_BYTES).getUint32(ENC_BYTES);
    return { number, plaintext: openAes256Gcm(key, nonceOf(number), sealed.subarray(HEADER_BYTES)) };
  } catch (cause) {
    throw new MillraceError('E_SEAL', 'the sealed message cannot be opened', { cause });
  } finally {
    wipe(secret, key);
  }
}

function nonceOf(number: number): Bytes {
  return concatBytes(new Uint8Array(8), u32be(number));
}
