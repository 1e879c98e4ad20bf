import type { Bytes } from '@millrace/base/core';
import type { Block } from '../code/layout.ts';
import type { Candidates } from '../code/solve.ts';
import type { Order } from '../parameters.ts';
import type { SuiteName } from '../suites.ts';
import type { HintTable, TableBuild } from '../table/hint-table.ts';

export const engineNames = ['native', 'wasm-simd', 'wasm', 'ts'] as const;
export type EngineName = (typeof engineNames)[number];
/** `auto` uses the first of `engineNames` that runs here. */
export type EngineSetting = EngineName | 'auto';

/** The inputs that are constant within one revision: H(g,t,k) then depends only on g. */
export interface HashKey {
  readonly suite: SuiteName;
  /** t, an unsigned 64-bit number. */
  readonly revision: bigint;
  /** k, 32 bytes; may be in shared memory. */
  readonly key: Uint8Array;
}

/**
 * The expensive operations: H for many g, tables, parity and solving. Every engine gives the same results
 * (vectors/live-matrix/). No engine keeps a key after a call. Arrays may be in shared memory. Calls are synchronous:
 * make long ones in worker threads.
 */
export interface HashEngine {
  readonly name: EngineName;
  /** Details for the log: instruction set, number of hashes in parallel. */
  readonly detail: string;
  readonly later?: LaterCalls;
  /**
   * H for g = high·2^32 + values[i].
   * @param high upper half of g, an unsigned 32-bit number
   * @param out 2·values.length words: out[2i] and out[2i+1] are the low and the high word of lane 0
   */
  hashBatch(key: HashKey, high: number, values: Uint32Array, out: Uint32Array): void;
  /**
   * Low words of lane 0 of H for g = high·2^32 + first, + first+1, … (the lower part stays below 2^32), one per element
   * of `out`. `high` defaults to 0.
   */
  hashRange(key: HashKey, first: number, out: Uint32Array, high?: number): void;
  /** Hashes g = first … first+count-1, whole superblocks of 2^15, and puts each into its part of the table. */
  partition(key: HashKey, build: TableBuild, first: number, count: number): void;
  /** Sorts one part, after all values are in the table. */
  index(build: TableBuild, part: number): void;
  /**
   * Wipes a table that is not needed soon. The native engine also returns its pages to the system. They read as zero
   * until the table is filled again.
   */
  discard(table: HintTable): void;
  /** Values with the dense code of each hint. Where `skip` is 1 (chaff) the only candidate is 0. */
  lookUp(table: HintTable, codes: Uint32Array, skip: Uint8Array): Candidates;
  /** Parity of all blocks, concatenated. */
  parity(values: Uint32Array, order: Order, blocks: readonly Block[]): Bytes;
  /** Solves every block. Returns false if a block does not have exactly one solution. `out` gets one value per hint. */
  solve(candidates: Candidates, order: Order, blocks: readonly Block[], parity: Uint8Array, out: Uint32Array): boolean;
}

/** The long calls of an engine that has threads. They are asynchronous and need no worker. */
export interface LaterCalls {
  partition(key: HashKey, build: TableBuild, first: number, count: number): Promise<void>;
  index(build: TableBuild, first: number, count: number): Promise<void>;
  wipe(table: HintTable): Promise<void>;
  lookUp(table: HintTable, codes: Uint32Array, skip: Uint8Array): Promise<Candidates>;
  solve(
    candidates: Candidates,
    order: Order,
    blocks: readonly Block[],
    parity: Uint8Array,
    out: Uint32Array,
  ): Promise<boolean>;
}

/** The part that an engine implements itself if it takes tables and code from the reference. */
export type HashOnly = Pick<HashEngine, 'name' | 'detail' | 'hashBatch' | 'hashRange'>;
