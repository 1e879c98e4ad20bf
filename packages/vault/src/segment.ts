import { type Bytes, concatBytes, hkdf, MillraceError, u32be, utf8, wipe } from '@millrace/base';
import { hmacSha256, type Mac, openAes256Gcm, sealAes256Gcm } from '@millrace/base/crypto';
import { CONTENT_BYTES, KEY_BYTES, SEGMENT_BYTES } from './sizes.ts';

/** Position of a segment, bound into the seal. */
export interface SegmentPlace {
  /** The design's 16-byte nonce, from the manifest. */
  readonly designNonce: Uint8Array;
  readonly number: number;
  /** Whether this is the design's last segment. */
  readonly final: boolean;
}

const ZERO_NONCE = new Uint8Array(12);
const LABEL = utf8('millrace/v1/segment');
const KEY_LABEL = utf8('millrace/v1/segment-key');
const MAC_LABEL = utf8('millrace/v1/content-mac');

/** The two halves of a segment's key: the cloud's, and the half that only the owner and licensed machines have. */
export interface SegmentSecrets {
  /** Content-encryption key of this segment only, 32 bytes. */
  readonly cek: Uint8Array;
  /** Design secret, 32 bytes. */
  readonly designSecret: Uint8Array;
}

function associatedData({ designNonce, number, final }: SegmentPlace): Bytes {
  if (designNonce.length !== 16) throw new MillraceError('E_INPUT', 'a design nonce has 16 bytes');
  return concatBytes(LABEL, designNonce, u32be(number), Uint8Array.of(final ? 1 : 0));
}

/** HKDF-SHA-256 over both halves; the caller wipes the result. */
function derive({ cek, designSecret }: SegmentSecrets, info: Uint8Array): Bytes {
  if (cek.length !== KEY_BYTES || designSecret.length !== KEY_BYTES)
    throw new MillraceError('E_INTERNAL', 'both halves of a segment’s key have 32 bytes');
  return hkdf([cek, designSecret], new Uint8Array(), info);
}

function segmentKey(secrets: SegmentSecrets, { designNonce, number }: SegmentPlace): Bytes {
  return derive(secrets, concatBytes(KEY_LABEL, designNonce, u32be(number)));
}

/**
 * Seals 16,370 bytes under a key that is used only once (spec/vault.md, section 1).
 * @returns 16,386 bytes
 */
export function sealSegment(options: SegmentPlace & SegmentSecrets & { content: Uint8Array }): Bytes {
  const { content } = options;
  if (content.length !== CONTENT_BYTES) throw new MillraceError('E_INTERNAL', 'a segment holds 16370 bytes');
  const key = segmentKey(options, options);
  try {
    return sealAes256Gcm(key, ZERO_NONCE, content, associatedData(options));
  } finally {
    wipe(key);
  }
}

/**
 * @returns 16,370 bytes; in the last segment the bytes past the design's size are zero
 * @throws {MillraceError} E_SEAL if it was altered, belongs to another place, or the key is wrong
 */
export function openSegment(options: SegmentPlace & SegmentSecrets & { sealed: Uint8Array }): Bytes {
  const { sealed } = options;
  if (sealed.length !== SEGMENT_BYTES) throw new MillraceError('E_SEAL', `a sealed segment has ${SEGMENT_BYTES} bytes`);
  const key = segmentKey(options, options);
  try {
    return openAes256Gcm(key, ZERO_NONCE, sealed, associatedData(options));
  } catch (cause) {
    throw new MillraceError('E_SEAL', `segment ${options.number} cannot be opened`, {
      data: { segment: options.number },
      cause,
    });
  } finally {
    wipe(key);
  }
}

/** MAC over the design's bytes, updated as they stream through. */
export type ContentMac = Mac;

/**
 * Keyed with the secrets of segment 0, so that a guess of the content cannot be tested without the design secret.
 * @param first secrets of segment 0; may be wiped afterwards
 */
export function contentMac(first: SegmentSecrets): ContentMac {
  const key = derive(first, MAC_LABEL);
  const mac = hmacSha256(key);
  wipe(key);
  return mac;
}
