import { createHash } from 'node:crypto';
import {
  type Bytes,
  bytesOf,
  copyBytes,
  decodeCbor,
  encodeCbor,
  MillraceError,
  parse,
  toHex,
  utf8,
} from '@millrace/base';
import { z } from 'zod';
import { MAX_POINTS_SEGMENTS, type MaintenanceMode, maintenanceModes } from './modes.ts';
import { CONTENT_BYTES, DESIGN_ID_BYTES, HASH_BYTES } from './sizes.ts';

/** More would make a manifest longer than a message; about 14 GB. */
export const MAX_SEGMENTS = 850_000;

/** Longest private part: a thumbnail of 32 KB and what is said of it, with room. */
export const MAX_PRIVATE_BYTES = 65_536;

const schema = z.strictObject({
  v: z.literal(1),
  kind: z.enum(['gcode', 'binary']),
  size: z.number().int().min(1),
  segments: z.number().int().min(1).max(MAX_SEGMENTS),
  nonce: bytesOf(16),
  hashes: z.instanceof(Uint8Array),
  times: z.instanceof(Uint8Array),
  contentMac: bytesOf(32),
  maintenance: z.enum(maintenanceModes).optional(),
  private: z
    .instanceof(Uint8Array)
    .refine(({ length }) => length >= 1 && length <= MAX_PRIVATE_BYTES, `expected 1 to ${MAX_PRIVATE_BYTES} bytes`)
    .optional(),
});

export type DesignKind = 'gcode' | 'binary';

export interface Manifest {
  /** 32 hexadecimal digits. */
  readonly designId: string;
  readonly kind: DesignKind;
  /** Bytes of the design. */
  readonly size: number;
  readonly segments: number;
  readonly nonce: Bytes;
  /** SHA-256 of every sealed segment, 32 bytes each. */
  readonly hashes: Bytes;
  /** Expected consumption at factor 1 of every segment, units of 0.1 ms. */
  readonly times: Uint32Array;
  readonly contentMac: Bytes;
  /** How the owner wants its cells renewed; `rekey` unless told. */
  readonly maintenance?: MaintenanceMode | undefined;
  /** Sealed by the owner to itself (name, bounding box, material, profile, thumbnail); nobody else reads it. */
  readonly private: Bytes | undefined;
}

/** @returns deterministic CBOR (spec/vault.md, section 2) */
export function encodeManifest(manifest: Omit<Manifest, 'designId'>): Bytes {
  const times = new Uint8Array(4 * manifest.times.length);
  const view = new DataView(times.buffer);
  for (const [i, tenths] of manifest.times.entries()) view.setUint32(4 * i, tenths);
  const bytes = encodeCbor({
    v: 1,
    kind: manifest.kind,
    size: manifest.size,
    segments: manifest.segments,
    nonce: manifest.nonce,
    hashes: manifest.hashes,
    times,
    contentMac: manifest.contentMac,
    maintenance: manifest.maintenance,
    private: manifest.private,
  });
  readManifest(bytes); // nobody signs what others would refuse
  return bytes;
}

/** @throws {MillraceError} E_TOO_LARGE for this mode of maintenance */
export function requireSize(mode: MaintenanceMode | undefined, size: number): void {
  const most = MAX_POINTS_SEGMENTS * CONTENT_BYTES;
  if (mode === 'key-homomorphic' && size > most)
    throw new MillraceError('E_TOO_LARGE', `a key-homomorphic design has at most ${most} bytes, not ${size}`);
}

/** @throws {MillraceError} E_INPUT, E_TOO_LARGE for its mode of maintenance */
export function readManifest(bytes: Uint8Array): Manifest {
  const fields = parse(schema, decodeCbor(bytes, 'manifest'), 'manifest');
  const { segments, size } = fields;
  if (segments !== Math.ceil(size / CONTENT_BYTES)) throw wrong('segments', 'does not fit the size');
  requireSize(fields.maintenance, size);
  if (fields.hashes.length !== HASH_BYTES * segments) throw wrong('hashes', 'one for every segment is needed');
  if (fields.times.length !== 4 * segments) throw wrong('times', 'one for every segment is needed');
  const view = new DataView(fields.times.buffer, fields.times.byteOffset);
  return {
    designId: designIdOf(bytes),
    kind: fields.kind,
    size,
    segments,
    nonce: copyBytes(fields.nonce),
    hashes: copyBytes(fields.hashes),
    times: Uint32Array.from({ length: segments }, (_, i) => view.getUint32(4 * i)),
    contentMac: copyBytes(fields.contentMac),
    maintenance: fields.maintenance,
    private: fields.private && copyBytes(fields.private),
  };
}

/** The identifier that a manifest gives its design. */
export function designIdOf(manifest: Uint8Array): string {
  const hash = createHash('sha256').update(utf8('millrace/v1/design')).update(manifest).digest();
  return toHex(hash.subarray(0, DESIGN_ID_BYTES));
}

/** SHA-256 that sealed segment `number` must have. */
export function segmentHash(manifest: Pick<Manifest, 'hashes' | 'segments'>, number: number): Bytes {
  if (number < 0 || number >= manifest.segments) throw new MillraceError('E_INPUT', `no segment ${number}`);
  return manifest.hashes.slice(HASH_BYTES * number, HASH_BYTES * (number + 1));
}

function wrong(field: string, what: string): MillraceError {
  return new MillraceError('E_INPUT', `manifest.${field}: ${what}`, { data: { field } });
}
