import {
  type Bytes,
  bytesOf,
  concatBytes,
  copyBytes,
  decodeCbor,
  encodeCbor,
  hkdf,
  MillraceError,
  parse,
  type RandomSource,
  systemRandom,
  u32be,
  utf8,
  wipe,
} from '@millrace/base';
import { openAes256Gcm, sealAes256Gcm } from '@millrace/base/crypto';
import { z } from 'zod';
import { MAX_PRIVATE_BYTES } from './manifest.ts';
import { KEY_BYTES, TAG_BYTES } from './sizes.ts';

// Facts that only the owner needs, sealed to the owner (spec/vault.md, section 2).

export const MAX_THUMBNAIL_BYTES = 32_768;
/** The plaintext is padded to a multiple of this, so that its length reveals neither name nor picture. */
const PADDING = 4_096;
const VERSION = 1;
const SALT_BYTES = 16;
const LABEL = utf8('millrace/v1/private-part');
const ZERO_NONCE = new Uint8Array(12);

const micrometres = z.number().int().min(-1e9).max(1e9);
const milliseconds = z.number().int().min(0).max(1e13);
const own = z.instanceof(Uint8Array).transform((bytes): Bytes => copyBytes(bytes));
const name = z.string().min(1).max(200);

const schema = z.strictObject({
  v: z.literal(1),
  name,
  /** designNonce of the manifest that contains this part. */
  nonce: bytesOf(16).transform((bytes): Bytes => copyBytes(bytes)),
  /** The design secret. The owner seals it to machines when granting a licence. */
  designSecret: bytesOf(32).transform((bytes): Bytes => copyBytes(bytes)),
  /** Bounding box of everything deposited: min x, y, z, max x, y, z. */
  box: z.array(micrometres).length(6).optional(),
  material: z.strictObject({ name: z.string().min(1).max(64), milligrams: z.number().int().min(0).max(1e12) }),
  /** Time of the whole design: by the motion model and, if the slicer states one, by the slicer. */
  time: z.strictObject({ model: milliseconds, slicer: milliseconds.optional() }),
  /** Slicer and settings profile. */
  sliced: z
    .strictObject({
      slicer: z.string().min(1).max(100),
      profile: name,
      profileHash: bytesOf(32).transform((bytes): Bytes => copyBytes(bytes)),
    })
    .optional(),
  /** PNG. */
  thumbnail: own.refine(({ length }) => length <= MAX_THUMBNAIL_BYTES, 'expected at most 32 KB').optional(),
});
export type PrivatePart = Omit<z.output<typeof schema>, 'v'>;

/**
 * @param secret 32 bytes that only the owner has; not retained
 * @returns 01 ‖ salt(16) ‖ AES-256-GCM, the plaintext padded to a multiple of 4,096 bytes
 * @throws {MillraceError} E_INPUT
 */
export function sealPrivatePart(secret: Uint8Array, part: PrivatePart, random: RandomSource = systemRandom): Bytes {
  const cbor = encodeCbor(parse(schema, { v: 1, ...part }, 'private part'));
  const plain = new Uint8Array(Math.ceil((4 + cbor.length) / PADDING) * PADDING);
  plain.set(u32be(cbor.length));
  plain.set(cbor, 4);
  const head = concatBytes(Uint8Array.of(VERSION), random(SALT_BYTES));
  const key = keyFor(secret, head);
  try {
    // The key is used for this message only, so the nonce may be constant.
    const sealed = concatBytes(head, sealAes256Gcm(key, ZERO_NONCE, plain, head));
    if (sealed.length > MAX_PRIVATE_BYTES) throw new MillraceError('E_TOO_LARGE', 'the private part is too long');
    return sealed;
  } finally {
    wipe(key, plain, cbor);
  }
}

/** @throws {MillraceError} E_SEAL if it belongs to another owner or was altered */
export function openPrivatePart(secret: Uint8Array, sealed: Uint8Array): PrivatePart {
  const key = privatePartKey(secret, sealed);
  try {
    return openPrivatePartWith(key, sealed);
  } finally {
    wipe(key);
  }
}

/** The key of one private part, 32 bytes, by which others can open it; the caller wipes it. @throws {MillraceError} E_SEAL */
export function privatePartKey(secret: Uint8Array, sealed: Uint8Array): Bytes {
  return keyFor(secret, headOf(sealed));
}

/** @throws {MillraceError} E_SEAL if the key belongs to another private part, or the part was altered */
export function openPrivatePartWith(key: Uint8Array, sealed: Uint8Array): PrivatePart {
  const head = headOf(sealed);
  const body = sealed.subarray(head.length);
  let plain: Bytes;
  try {
    plain = openAes256Gcm(key, ZERO_NONCE, body, head);
  } catch (cause) {
    throw shut(cause);
  }
  const used = new DataView(plain.buffer).getUint32(0);
  if (used > plain.length - 4) throw shut();
  const { v: _, ...part } = parse(schema, decodeCbor(plain.subarray(4, 4 + used), 'private part'), 'private part');
  return part;
}

function headOf(sealed: Uint8Array): Uint8Array {
  const head = sealed.subarray(0, 1 + SALT_BYTES);
  const length = sealed.length - head.length - TAG_BYTES;
  if (head[0] !== VERSION || length < PADDING || length % PADDING !== 0) throw shut();
  return head;
}

function keyFor(secret: Uint8Array, head: Uint8Array): Bytes {
  if (secret.length !== KEY_BYTES) throw new MillraceError('E_INTERNAL', 'an owner’s secret has 32 bytes');
  return hkdf([secret], head.subarray(1), LABEL);
}

function shut(cause?: unknown): MillraceError {
  return new MillraceError('E_SEAL', 'the private part of the design cannot be opened with this key', { cause });
}
