import { type Bytes, copyBytes, decodeCbor, encodeCbor, equalBytes, MillraceError, parse } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { z } from 'zod';
import { type DesignCore, encodeCore, type NamedCore, readCore } from './core.ts';
import { HashTree } from './hash-tree.ts';
import { HASH_BYTES } from './sizes.ts';

/** Maximum length of the private part: a thumbnail of 32 KB and other fields, with a margin. */
export const MAX_PRIVATE_BYTES = 65_536;

const bytes = z.instanceof(Uint8Array);

const schema = z.strictObject({
  v: z.literal(2),
  core: bytes,
  hashes: bytes,
  times: bytes,
  private: bytes
    .refine(({ length }) => length >= 1 && length <= MAX_PRIVATE_BYTES, `expected 1 to ${MAX_PRIVATE_BYTES} bytes`)
    .optional(),
});

/** The core, and the data that it commits to. */
export interface Manifest extends NamedCore {
  /** Encoded core, as sent to machines. */
  readonly core: Bytes;
  /** SHA-256 of every sealed segment, 32 bytes each. */
  readonly hashes: Bytes;
  /** Expected consumption at factor 1 of every segment, units of 0.1 ms. */
  readonly times: Uint32Array;
  /**
   * Sealed by the owner to itself (name, bounding box, material, profile, thumbnail, secret). Opaque to everyone else.
   */
  readonly private: Bytes | undefined;
}

/** Fields set by the owner. The hashes in the core are derived from them. */
export type ManifestFields = Omit<DesignCore, 'hashRoot' | 'timesHash' | 'privateHash'> &
  Pick<Manifest, 'hashes' | 'times' | 'private'>;

/** @returns deterministic CBOR (spec/vault.md, section 2) */
export function encodeManifest(fields: ManifestFields): Bytes {
  const { owner, custody, kind, size, segments, nonce, contentMac, maintenance, hashes } = fields;
  const times = new Uint8Array(4 * fields.times.length);
  const view = new DataView(times.buffer);
  for (const [i, tenths] of fields.times.entries()) view.setUint32(4 * i, tenths);
  const core = encodeCore({
    owner,
    custody,
    kind,
    size,
    segments,
    nonce,
    hashRoot: new HashTree(hashes).root,
    timesHash: sha256(times),
    ...(fields.private && { privateHash: sha256(fields.private) }),
    contentMac,
    ...(maintenance && { maintenance }),
  });
  const bytes = encodeCbor({ v: 2, core, hashes, times, private: fields.private });
  readManifest(bytes); // never sign a manifest that other parties would reject
  return bytes;
}

/** @throws {MillraceError} E_INPUT, or E_TOO_LARGE for its mode of maintenance */
export function readManifest(bytes: Uint8Array): Manifest {
  const fields = parse(schema, decodeCbor(bytes, 'manifest'), 'manifest');
  const core = readCore(fields.core);
  const { segments, privateHash } = core;
  if (fields.hashes.length !== HASH_BYTES * segments) throw wrong('hashes', 'expected one for each segment');
  if (!equalBytes(new HashTree(fields.hashes).root, core.hashRoot)) throw wrong('hashes', 'they do not match the core');
  if (fields.times.length !== 4 * segments) throw wrong('times', 'expected one for each segment');
  if (!equalBytes(sha256(fields.times), core.timesHash)) throw wrong('times', 'they do not match the core');
  if ((fields.private === undefined) !== (privateHash === undefined))
    throw wrong('private', 'it does not match the core');
  if (fields.private && privateHash && !equalBytes(sha256(fields.private), privateHash))
    throw wrong('private', 'it does not match the core');
  const view = new DataView(fields.times.buffer, fields.times.byteOffset);
  return {
    ...core,
    core: copyBytes(fields.core),
    hashes: copyBytes(fields.hashes),
    times: Uint32Array.from({ length: segments }, (_, i) => view.getUint32(4 * i)),
    private: fields.private && copyBytes(fields.private),
  };
}

/** SHA-256 that sealed segment `number` must have. */
export function segmentHash(manifest: Pick<Manifest, 'hashes' | 'segments'>, number: number): Bytes {
  if (number < 0 || number >= manifest.segments) throw new MillraceError('E_INPUT', `no segment ${number}`);
  return manifest.hashes.slice(HASH_BYTES * number, HASH_BYTES * (number + 1));
}

function wrong(field: string, what: string): MillraceError {
  return new MillraceError('E_INPUT', `manifest.${field}: ${what}`, { data: { field } });
}
