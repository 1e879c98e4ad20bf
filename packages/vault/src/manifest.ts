import { type Bytes, copyBytes, decodeCbor, encodeCbor, equalBytes, MillraceError, parse } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { z } from 'zod';
import { type DesignCore, encodeCore, type NamedCore, readCore } from './core.ts';
import { HashTree } from './hash-tree.ts';
import { MAX_ENVELOPE_BYTES } from './job-envelope.ts';
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
  envelope: bytes
    .refine(({ length }) => length >= 1 && length <= MAX_ENVELOPE_BYTES, `expected 1 to ${MAX_ENVELOPE_BYTES} bytes`)
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
  /** How far the design goes, for machines. Sealed under the design secret (job-envelope.ts). */
  readonly envelope: Bytes | undefined;
}

/** Fields set by the owner. The hashes in the core are derived from them. */
export type ManifestFields = Omit<DesignCore, 'hashRoot' | 'timesHash' | 'privateHash' | 'envelopeHash'> &
  Pick<Manifest, 'hashes' | 'times' | 'private'> &
  Partial<Pick<Manifest, 'envelope'>>;

/** @returns deterministic CBOR (spec/vault.md, section 2) */
export function encodeManifest(fields: ManifestFields): Bytes {
  const { owner, organisation, custody, kind, size, segments, nonce, contentMac, maintenance, approvals, hashes } =
    fields;
  const times = new Uint8Array(4 * fields.times.length);
  const view = new DataView(times.buffer);
  for (const [i, tenths] of fields.times.entries()) view.setUint32(4 * i, tenths);
  const core = encodeCore({
    owner,
    ...(organisation && { organisation }),
    custody,
    kind,
    size,
    segments,
    nonce,
    hashRoot: new HashTree(hashes).root,
    timesHash: sha256(times),
    ...(fields.private && { privateHash: sha256(fields.private) }),
    ...(fields.envelope && { envelopeHash: sha256(fields.envelope) }),
    contentMac,
    ...(maintenance && { maintenance }),
    ...(approvals && { approvals }),
  });
  const bytes = encodeCbor({ v: 2, core, hashes, times, private: fields.private, envelope: fields.envelope });
  readManifest(bytes); // never sign a manifest that other parties would reject
  return bytes;
}

/** @throws {MillraceError} E_INPUT, or E_TOO_LARGE for its mode of maintenance */
export function readManifest(bytes: Uint8Array): Manifest {
  const fields = parse(schema, decodeCbor(bytes, 'manifest'), 'manifest');
  const core = readCore(fields.core);
  const { segments, privateHash, envelopeHash } = core;
  if (fields.hashes.length !== HASH_BYTES * segments) throw wrong('hashes', 'expected one for each segment');
  if (!equalBytes(new HashTree(fields.hashes).root, core.hashRoot)) throw wrong('hashes', 'they do not match the core');
  if (fields.times.length !== 4 * segments) throw wrong('times', 'expected one for each segment');
  if (!equalBytes(sha256(fields.times), core.timesHash)) throw wrong('times', 'they do not match the core');
  for (const [name, hash] of [
    ['private', privateHash],
    ['envelope', envelopeHash],
  ] as const) {
    const part = fields[name];
    if (part === undefined && hash === undefined) continue;
    if (part === undefined || hash === undefined || !equalBytes(sha256(part), hash))
      throw wrong(name, 'it does not match the core');
  }
  const view = new DataView(fields.times.buffer, fields.times.byteOffset);
  return {
    ...core,
    core: copyBytes(fields.core),
    hashes: copyBytes(fields.hashes),
    times: Uint32Array.from({ length: segments }, (_, i) => view.getUint32(4 * i)),
    private: fields.private && copyBytes(fields.private),
    envelope: fields.envelope && copyBytes(fields.envelope),
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
