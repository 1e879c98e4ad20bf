import { type Bytes, hexOf, type RandomSource } from '@millrace/base';
import { z } from 'zod';

/** Length of a sealed segment (design, section 2). */
export const SEALED_BYTES = 16_386;
/** Design bytes in a sealed segment; the rest is the tag. */
export const CONTENT_BYTES = SEALED_BYTES - 16;

export const preparedStateSchema = z.strictObject({
  version: z.literal(1),
  design: hexOf(16),
  name: z.string(),
  segments: z.number().int().positive(),
  size: z.number().int().positive(),
  /** Source of the design. With the same, unchanged file an interrupted upload continues. */
  source: z.strictObject({
    path: z.string(),
    size: z.number(),
    mtimeMs: z.number(),
    /** SHA-256 of the profile, for a model: another profile gives another design. */
    profile: hexOf(32).optional(),
  }),
});
export type PreparedState = z.output<typeof preparedStateSchema>;
export type SourceIdentity = PreparedState['source'];

/**
 * A sealed design that is stored on the owner's side until the vault has it: manifest, sealed segments, and the content
 * keys sealed to the keys node. None of it can be opened without that node's key.
 */
export interface PreparedDesign {
  readonly state: PreparedState;
  /** Left by an earlier attempt, so the cloud may already know it. */
  readonly earlier: boolean;
  manifest(): Promise<Bytes>;
  keys(): Promise<Bytes>;
  openSegments(): Promise<SealedSegments>;
  remove(): Promise<void>;
}

export interface SealedSegments {
  /**
   * Reads consecutive sealed segments, one by default. Concurrent calls are safe.
   * @throws {MillraceError} E_UPLOAD if the design ends before
   */
  read(first: number, count?: number): Promise<Bytes>;
  close(): Promise<void>;
}

/** Writes a prepared design. It can be found only once it is complete. */
export interface PreparedWriter {
  /** Segments must come in order. @throws {MillraceError} E_INTERNAL for a wrong length */
  append(sealed: Uint8Array): Promise<void>;
  /** @throws {MillraceError} E_INTERNAL if the number of segments differs */
  finish(state: PreparedState, manifest: Uint8Array, keys: Uint8Array): Promise<PreparedDesign>;
  /** Removes what was written. */
  abandon(): Promise<void>;
}

/** The owner's offline copy of the sealed segments, for repairs. */
export interface DesignCopy {
  readonly segments: number;
  /** One sealed segment, verified against the manifest. @throws {MillraceError} E_SEGMENT, E_UPLOAD */
  read(segment: number): Promise<Bytes>;
  close(): Promise<void>;
}

export interface PreparedDesigns {
  /** Finds a design prepared from this source whose upload was interrupted. Removes leftovers of dead preparations. */
  find(source: SourceIdentity): Promise<PreparedDesign | undefined>;
  begin(random: RandomSource): Promise<PreparedWriter>;
}

export function sameSource(a: SourceIdentity, b: SourceIdentity): boolean {
  return a.path === b.path && a.size === b.size && a.mtimeMs === b.mtimeMs && a.profile === b.profile;
}
