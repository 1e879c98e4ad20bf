import { type Bytes, hexOf, type RandomSource } from '@millrace/base';
import { z } from 'zod';

/** Bytes of a sealed segment (design, section 2). */
export const SEALED_BYTES = 16_386;
/** Design bytes in it; the rest is the seal's tag. */
export const CONTENT_BYTES = SEALED_BYTES - 16;

export const preparedStateSchema = z.strictObject({
  version: z.literal(1),
  design: hexOf(16),
  name: z.string(),
  segments: z.number().int().positive(),
  size: z.number().int().positive(),
  /** What it was made from: the same file, unchanged, goes on where an upload was interrupted. */
  source: z.strictObject({
    path: z.string(),
    size: z.number(),
    mtimeMs: z.number(),
    /** SHA-256 of the profile, for a model: with another profile it is another design. */
    profile: hexOf(32).optional(),
  }),
});
export type PreparedState = z.output<typeof preparedStateSchema>;
export type SourceIdentity = PreparedState['source'];

/**
 * A sealed design that waits on the owner's side until the vault has it: manifest, sealed segments, and the content keys
 * sealed to the keys node. Nothing here opens without that node's key.
 */
export interface PreparedDesign {
  readonly state: PreparedState;
  /** Left by an earlier attempt: the cloud may know it already. */
  readonly earlier: boolean;
  manifest(): Promise<Bytes>;
  keys(): Promise<Bytes>;
  /** One sealed segment; `read` is safe to call many times at once. */
  openSegments(): Promise<{ read(segment: number): Promise<Bytes>; close(): Promise<void> }>;
  remove(): Promise<void>;
}

/** Writes a prepared design. It can be found only when it is whole. */
export interface PreparedWriter {
  /** Segments come in order. @throws {MillraceError} E_INTERNAL for another length */
  append(sealed: Uint8Array): Promise<void>;
  /** @throws {MillraceError} E_INTERNAL when the number of segments differs */
  finish(state: PreparedState, manifest: Uint8Array, keys: Uint8Array): Promise<PreparedDesign>;
  /** Removes what was written. */
  abandon(): Promise<void>;
}

/** The owner's offline copy of the sealed segments, for repairs. */
export interface DesignCopy {
  readonly segments: number;
  /** One sealed segment, compared with the manifest. @throws {MillraceError} E_SEGMENT, E_UPLOAD */
  read(segment: number): Promise<Bytes>;
  close(): Promise<void>;
}

export interface PreparedDesigns {
  /** A design of this very source whose upload was interrupted. Removes what ended preparations left. */
  find(source: SourceIdentity): Promise<PreparedDesign | undefined>;
  begin(random: RandomSource): Promise<PreparedWriter>;
}

export function sameSource(a: SourceIdentity, b: SourceIdentity): boolean {
  return a.path === b.path && a.size === b.size && a.mtimeMs === b.mtimeMs && a.profile === b.profile;
}
