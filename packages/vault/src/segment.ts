import { createCipheriv, createDecipheriv, createHmac, hkdfSync } from 'node:crypto';
import { type Bytes, concatBytes, copyBytes, MillraceError, u32be, utf8, wipe } from '@millrace/base';
import { CONTENT_BYTES, KEY_BYTES, SEGMENT_BYTES, TAG_BYTES } from './sizes.ts';

/** Which segment of which design; bound into the seal. */
export interface SegmentPlace {
  /** The design's 16-byte nonce, from the manifest. */
  readonly designNonce: Uint8Array;
  readonly number: number;
  /** The last one of the design. */
  readonly final: boolean;
}

const ZERO_NONCE = new Uint8Array(12);
const LABEL = utf8('millrace/v1/segment');
const MAC_LABEL = utf8('millrace/v1/content-mac');

function associatedData({ designNonce, number, final }: SegmentPlace): Bytes {
  if (designNonce.length !== 16) throw new MillraceError('E_INPUT', 'a design nonce has 16 bytes');
  return concatBytes(LABEL, designNonce, u32be(number), Uint8Array.of(final ? 1 : 0));
}

/**
 * Seals 16,370 bytes under a key that is used for nothing else (spec/vault.md, section 1).
 * @returns 16,386 bytes
 */
export function sealSegment(options: SegmentPlace & { cek: Uint8Array; content: Uint8Array }): Bytes {
  const { cek, content } = options;
  if (content.length !== CONTENT_BYTES || cek.length !== KEY_BYTES) {
    throw new MillraceError('E_INTERNAL', 'a segment holds 16370 bytes under a 32-byte key');
  }
  const cipher = createCipheriv('aes-256-gcm', cek, ZERO_NONCE);
  cipher.setAAD(associatedData(options));
  return concatBytes(cipher.update(content), cipher.final(), cipher.getAuthTag());
}

/**
 * @returns 16,370 bytes; what lies past the design's size in the last one is zeros
 * @throws {MillraceError} E_SEAL when it was altered, or is another segment or design, or the key is not its own
 */
export function openSegment(options: SegmentPlace & { cek: Uint8Array; sealed: Uint8Array }): Bytes {
  const { cek, sealed } = options;
  if (sealed.length !== SEGMENT_BYTES) throw new MillraceError('E_SEAL', `a sealed segment has ${SEGMENT_BYTES} bytes`);
  const decipher = createDecipheriv('aes-256-gcm', cek, ZERO_NONCE, { authTagLength: TAG_BYTES });
  decipher.setAAD(associatedData(options));
  decipher.setAuthTag(sealed.subarray(CONTENT_BYTES));
  const plain = decipher.update(sealed.subarray(0, CONTENT_BYTES));
  try {
    decipher.final();
    return copyBytes(plain);
  } catch (cause) {
    throw new MillraceError('E_SEAL', `segment ${options.number} does not open`, {
      data: { segment: options.number },
      cause,
    });
  } finally {
    wipe(plain);
  }
}

/** The manifest's MAC over the design's bytes, fed as they pass. */
export interface ContentMac {
  update(content: Uint8Array): void;
  /** 32 bytes; once. */
  digest(): Bytes;
}

/** @param firstCek CEK of segment 0; may be wiped afterwards. */
export function contentMac(firstCek: Uint8Array): ContentMac {
  const key = new Uint8Array(hkdfSync('sha256', firstCek, new Uint8Array(), MAC_LABEL, KEY_BYTES));
  const mac = createHmac('sha256', key);
  wipe(key);
  return { update: (content) => void mac.update(content), digest: () => copyBytes(mac.digest()) };
}
