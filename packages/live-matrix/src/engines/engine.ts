import type { SuiteName } from '../suites.ts';

export const engineNames = ['native', 'wasm-simd', 'wasm', 'ts'] as const;
export type EngineName = (typeof engineNames)[number];
/** `auto` takes the first of `engineNames` that runs here. */
export type EngineSetting = EngineName | 'auto';

/** What is constant within one revision: H(g,t,k) is a function of g alone under it. */
export interface HashKey {
  readonly suite: SuiteName;
  /** t, an unsigned 64-bit number. */
  readonly revision: bigint;
  /** k, 32 bytes; may lie in shared memory. */
  readonly key: Uint8Array;
}

/**
 * Computes lane 0 (the first 8 bytes, little-endian) of H(g,t,k) for many g. Every engine gives the same words
 * (vectors/live-matrix/hash.json); none keeps the key after the call.
 */
export interface HashEngine {
  readonly name: EngineName;
  /** What runs in detail, for the log: instruction set, lanes side by side. */
  readonly detail: string;
  /**
   * H for g = high·2^32 + values[i].
   * @param high upper half of g, an unsigned 32-bit number
   * @param out 2·values.length words: out[2i] and out[2i+1] are the low and the high word of lane 0
   */
  hashBatch(key: HashKey, high: number, values: Uint32Array, out: Uint32Array): void;
  /**
   * Low words of lane 0 of H for g = first, first+1, … (below 2^32), one for each place of `out`.
   */
  hashRange(key: HashKey, first: number, out: Uint32Array): void;
}
