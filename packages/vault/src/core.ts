import {
  type Bytes,
  bytesOf,
  copyBytes,
  decodeCbor,
  encodeCbor,
  hexOf,
  MillraceError,
  parse,
  toHex,
  utf8,
} from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { z } from 'zod';
import { MAX_POINTS_SEGMENTS, type MaintenanceMode, maintenanceModes } from './modes.ts';
import { CONTENT_BYTES, DESIGN_ID_BYTES, KEY_BYTES } from './sizes.ts';

/**
 * Manifest and content keys (68 bytes per segment) must fit into one message of 32 MiB to the keys node: about 7.8 GB.
 */
export const MAX_SEGMENTS = 480_000;

/** Maximum number of keys that may approve a design's licences. */
export const MAX_APPROVERS = 16;

/** Kind of a design; determines which machines can make it. Only clients and machines interpret it. */
export const designKindName = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, { error: 'expected the name of a kind' });

/**
 * Who holds the design secret: the owner, who seals it to each machine of a licence, or the keys node, so that machines
 * can be added without the owner.
 */
export type Custody = 'owner' | 'keys';

const own = (length: number) => bytesOf(length).transform((bytes): Bytes => copyBytes(bytes));

const schema = z.strictObject({
  /** The owner's compressed secp256k1 key. The design id covers it. */
  owner: own(33),
  /** The organisation for which the owner's key acts: its designers may act on the design. Absent for a key alone. */
  organisation: hexOf(16).optional(),
  custody: z.enum(['owner', 'keys']),
  kind: designKindName,
  /** Bytes of the design. */
  size: z.number().int().min(1),
  segments: z.number().int().min(1).max(MAX_SEGMENTS),
  /** designNonce. */
  nonce: own(16),
  /** Root of the tree over the segments' hashes (hash-tree.ts). */
  hashRoot: own(32),
  /** SHA-256 of the manifest's `times` and, if present, `private` and `envelope`. */
  timesHash: own(32),
  privateHash: own(32).optional(),
  envelopeHash: own(32).optional(),
  contentMac: own(32),
  /** How the cells are renewed. Default: `rekey`. */
  maintenance: z.enum(maintenanceModes).optional(),
  /** Every licence needs approvals by `needed` different keys of `approvers`, which are compressed secp256k1 keys. */
  approvals: z
    .strictObject({ needed: z.number().int().min(1), approvers: z.array(own(33)).min(1).max(MAX_APPROVERS) })
    .refine(({ needed, approvers }) => needed <= approvers.length, { error: 'more approvals than approvers' })
    .refine(({ approvers }) => new Set(approvers.map(toHex)).size === approvers.length, {
      error: 'an approver is named twice',
    })
    .optional(),
});

/** The owner's commitment, a few hundred bytes. Licences contain its hash; machines check every segment against it. */
export type DesignCore = z.output<typeof schema>;

/** A decoded core, with the identifiers derived from its bytes. */
export interface NamedCore extends DesignCore {
  /** 32 hexadecimal digits. */
  readonly designId: string;
  /** SHA-256 of the core's bytes, 32 bytes. Licences contain it. */
  readonly coreHash: Bytes;
}

/** @returns deterministic CBOR (spec/vault.md, section 2) */
export function encodeCore(core: DesignCore): Bytes {
  return encodeCbor(parse(schema, core, 'design core') as never);
}

/** @throws {MillraceError} E_INPUT, or E_TOO_LARGE for its mode of maintenance */
export function readCore(bytes: Uint8Array): NamedCore {
  const core = parse(schema, decodeCbor(bytes, 'design core'), 'design core');
  if (core.segments !== Math.ceil(core.size / CONTENT_BYTES))
    throw new MillraceError('E_INPUT', 'design core: the number of segments does not match the size', {
      data: { field: 'segments' },
    });
  requireSize(core.maintenance, core.size);
  return { ...core, designId: designIdOf(bytes), coreHash: coreHashOf(bytes) };
}

/**
 * Bytes that an owner seals to the keys node: one content key per segment and, under custody `keys`, the design secret.
 */
export function contentKeysLength({ segments, custody }: Pick<DesignCore, 'segments' | 'custody'>): number {
  return KEY_BYTES * (segments + (custody === 'keys' ? 1 : 0));
}

/** @throws {MillraceError} E_INPUT */
export function requireContentKeys(keys: Uint8Array, design: Pick<DesignCore, 'segments' | 'custody'>): void {
  if (keys.length !== contentKeysLength(design))
    throw new MillraceError('E_INPUT', 'expected one content key for each segment and, in custody, the design secret');
}

/** @throws {MillraceError} E_TOO_LARGE for this mode of maintenance */
export function requireSize(mode: MaintenanceMode | undefined, size: number): void {
  const most = MAX_POINTS_SEGMENTS * CONTENT_BYTES;
  if (mode === 'key-homomorphic' && size > most)
    throw new MillraceError('E_TOO_LARGE', `a key-homomorphic design has at most ${most} bytes, not ${size}`);
}

/** The design id derived from an encoded core. */
export function designIdOf(core: Uint8Array): string {
  return toHex(sha256(utf8('millrace/v1/design'), core).subarray(0, DESIGN_ID_BYTES));
}

export function coreHashOf(core: Uint8Array): Bytes {
  return sha256(core);
}
