import { type Bytes, concatBytes, copyBytes, hkdf, MillraceError, u32be, utf8, wipe } from '@millrace/base';
import { openAes256Gcm, sealAes256Gcm } from '@millrace/base/crypto';
import { KEY_BYTES, TAG_BYTES } from './sizes.ts';

// How far a design goes, sealed to whoever has the design secret: a machine of a licence (spec/rehearsal.md, 1).

/** Maximum length of a sealed envelope, bytes. */
export const MAX_ENVELOPE_BYTES = 32_768 + TAG_BYTES;
/** The plaintext is padded to a multiple of this, so that its length does not show the number of commands. */
const PADDING = 4_096;
const LABEL = utf8('millrace/v1/job-envelope');
const ZERO_NONCE = new Uint8Array(12);

/** What the key of an envelope is derived from. */
interface Of {
  /** Design secret, 32 bytes. */
  readonly designSecret: Uint8Array;
  /** designNonce, 16 bytes. */
  readonly nonce: Uint8Array;
}

/** @param plain the envelope, CBOR @throws {MillraceError} E_TOO_LARGE */
export function sealEnvelope(of: Of, plain: Uint8Array): Bytes {
  const padded = new Uint8Array(Math.ceil((4 + plain.length) / PADDING) * PADDING);
  if (padded.length + TAG_BYTES > MAX_ENVELOPE_BYTES)
    throw new MillraceError('E_TOO_LARGE', 'the envelope is too long');
  padded.set(concatBytes(u32be(plain.length), plain));
  const key = envelopeKey(of);
  try {
    // The key is used for this message only, so the nonce may be constant.
    return sealAes256Gcm(key, ZERO_NONCE, padded, LABEL);
  } finally {
    wipe(key, padded);
  }
}

/**
 * @param key 32 bytes
 * @returns the envelope, CBOR
 * @throws {MillraceError} E_SEAL if it belongs to another design or was altered
 */
export function openEnvelope(key: Uint8Array, sealed: Uint8Array): Bytes {
  try {
    const padded = openAes256Gcm(key, ZERO_NONCE, sealed, LABEL);
    const used = padded.length < 4 ? padded.length : new DataView(padded.buffer, padded.byteOffset).getUint32(0);
    if (used > padded.length - 4) throw new MillraceError('E_SEAL', 'the envelope has a wrong length');
    return copyBytes(padded.subarray(4, 4 + used));
  } catch (cause) {
    throw new MillraceError('E_SEAL', 'the envelope of the design cannot be opened with this key', { cause });
  }
}

/** The key of a design's envelope, 32 bytes; the caller wipes it. It opens nothing else. */
export function envelopeKey({ designSecret, nonce }: Of): Bytes {
  if (designSecret.length !== KEY_BYTES) throw new MillraceError('E_INTERNAL', 'a design secret has 32 bytes');
  return hkdf([designSecret], nonce, LABEL);
}
