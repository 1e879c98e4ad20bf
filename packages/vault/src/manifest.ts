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
import { CONTENT_BYTES, DESIGN_ID_BYTES, HASH_BYTES } from './sizes.ts';

/** More would make a manifest longer than a message; about 14 GB. */
export const MAX_SEGMENTS = 850_000;

const micrometres = z.number().int().min(-1e9).max(1e9);
const schema = z.strictObject({
  v: z.literal(1),
  kind: z.enum(['gcode', 'binary']),
  name: z.string().min(1).max(200),
  size: z.number().int().min(1),
  segments: z.number().int().min(1).max(MAX_SEGMENTS),
  nonce: bytesOf(16),
  hashes: z.instanceof(Uint8Array),
  times: z.instanceof(Uint8Array),
  box: z.array(micrometres).length(6).optional(),
  material: z.strictObject({ name: z.string().min(1).max(64), milligrams: z.number().int().min(0).max(1e12) }),
  contentMac: bytesOf(32),
});

export type DesignKind = 'gcode' | 'binary';
/** min x, y, z, max x, y, z in millimetres. */
export type Box = readonly [number, number, number, number, number, number];

export interface Manifest {
  /** 32 hexadecimal digits. */
  readonly designId: string;
  readonly kind: DesignKind;
  readonly name: string;
  /** Bytes of the design. */
  readonly size: number;
  readonly segments: number;
  readonly nonce: Bytes;
  /** SHA-256 of every sealed segment, 32 bytes each. */
  readonly hashes: Bytes;
  /** Expected consumption at factor 1 of every segment, units of 0.1 ms. */
  readonly times: Uint32Array;
  readonly box: Box | undefined;
  readonly material: { readonly name: string; readonly grams: number };
  readonly contentMac: Bytes;
}

/** @returns deterministic CBOR (spec/vault.md, section 2) */
export function encodeManifest(manifest: Omit<Manifest, 'designId'>): Bytes {
  const times = new Uint8Array(4 * manifest.times.length);
  const view = new DataView(times.buffer);
  for (const [i, tenths] of manifest.times.entries()) view.setUint32(4 * i, tenths);
  const bytes = encodeCbor({
    v: 1,
    kind: manifest.kind,
    name: manifest.name,
    size: manifest.size,
    segments: manifest.segments,
    nonce: manifest.nonce,
    hashes: manifest.hashes,
    times,
    box: manifest.box?.map((millimetres) => Math.round(millimetres * 1000)),
    material: { name: manifest.material.name, milligrams: Math.round(manifest.material.grams * 1000) },
    contentMac: manifest.contentMac,
  });
  readManifest(bytes); // nobody signs what others would refuse
  return bytes;
}

/** @throws {MillraceError} E_INPUT */
export function readManifest(bytes: Uint8Array): Manifest {
  const fields = parse(schema, decodeCbor(bytes, 'manifest'), 'manifest');
  const { segments, size } = fields;
  if (segments !== Math.ceil(size / CONTENT_BYTES)) throw wrong('segments', 'does not fit the size');
  if (fields.hashes.length !== HASH_BYTES * segments) throw wrong('hashes', 'one for every segment is needed');
  if (fields.times.length !== 4 * segments) throw wrong('times', 'one for every segment is needed');
  const view = new DataView(fields.times.buffer, fields.times.byteOffset);
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = (fields.box ?? []).map((value) => value / 1000);
  return {
    designId: designIdOf(bytes),
    kind: fields.kind,
    name: fields.name,
    size,
    segments,
    nonce: copyBytes(fields.nonce),
    hashes: copyBytes(fields.hashes),
    times: Uint32Array.from({ length: segments }, (_, i) => view.getUint32(4 * i)),
    box: fields.box && [a, b, c, d, e, f],
    material: { name: fields.material.name, grams: fields.material.milligrams / 1000 },
    contentMac: copyBytes(fields.contentMac),
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
