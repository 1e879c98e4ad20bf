import { type Bytes, concatBytes, copyBytes, u32be, utf8, wipe } from '@millrace/base/core';
import { hkdf } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { SEED_BYTES } from './parameters.ts';
import type { SuiteName } from './suites.ts';

/** Inputs of a session's first secret. Names are context only and not secret. */
export interface SeedInputs {
  /** Hash of the handshake's messages as seen by both ends. */
  readonly transcriptHash: Uint8Array;
  /** Secrets in the order of the handshake: DH results, the licence's 32-byte secret. At least one. */
  readonly secrets: readonly Uint8Array[];
  readonly suite: SuiteName;
  readonly serial: string;
  readonly licence: string;
  readonly object: string;
  readonly playbookHash: Uint8Array;
}

/**
 * s of the first revision: HKDF-SHA256 with the transcript's hash as salt (design section 5, crypto-review section 1).
 * Every part is preceded by its length, so that the encoding is unambiguous.
 */
export function deriveSeed(inputs: SeedInputs): Bytes {
  const keyMaterial = joinParts(inputs.secrets);
  const info = joinParts([
    utf8('millrace live matrix 1'),
    utf8(inputs.suite),
    utf8(inputs.serial),
    utf8(inputs.licence),
    utf8(inputs.object),
    inputs.playbookHash,
  ]);
  const seed = copyBytes(hkdf(sha256, keyMaterial, inputs.transcriptHash, info, SEED_BYTES));
  wipe(keyMaterial);
  return seed;
}

function joinParts(parts: readonly Uint8Array[]): Bytes {
  return concatBytes(...parts.flatMap((part) => [u32be(part.length), part]));
}
