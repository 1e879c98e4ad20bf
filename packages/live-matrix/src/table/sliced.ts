import { availableMemory, MillraceError } from '@millrace/base/core';
import type { Candidates } from '../code/solve.ts';
import { createEngine } from '../engines/choose.ts';
import type { EngineSetting, HashEngine, HashKey } from '../engines/engine.ts';
import { isIntegerIn, requireBytes, type TableOrder } from '../parameters.ts';
import { KEY_BYTES } from '../suites.ts';
import { TableBuilder } from './builder.ts';
import { type HintTable, PART_ENDS, partCapacity, tableParts } from './hint-table.ts';
import { TableMemory } from './memory.ts';
import { createRunner, defaultThreads } from './node-runner.ts';
import type { TaskRunner } from './runner.ts';

/*
 * Tables of orders up to 32, in slices: one table of order 24 per 2^24 neighbouring values, indexed by the low 24 bits
 * of their codes. Each slice has about one candidate per code; hashing the candidate again shows whether the whole code
 * matches.
 */

/** Fraction of the memory to use. The rest is left to other processes. */
const SHARE = 0.9;

export interface SlicedOptions {
  /** 17 to 32: log2 of the number of values, and bits of a code. */
  readonly order: number;
  readonly key: HashKey;
  readonly engine?: EngineSetting;
  /** Number of threads, as for a receiver. */
  readonly threads?: number;
  /** log2 of the number of values per slice: 24, or 16 where that is less work. */
  readonly sliceOrder?: TableOrder;
  /** Range of slices to build. Default: all. */
  readonly firstSlice?: number;
  readonly sliceCount?: number;
  readonly signal?: AbortSignal;
  /** Called after each slice with the number of finished slices. */
  readonly onProgress?: (done: number) => void;
}

/** A complete table in memory. As secret as its key. */
export interface SlicedTable {
  /** Size in bytes. */
  readonly bytes: number;
  /** All values of each code: the low `order` bits of H. */
  lookUp(codes: Uint32Array): Promise<Candidates>;
  /** Wipes the table. */
  close(): Promise<void>;
}

/**
 * Memory needed for `slices` slices, bytes: at order 32, 256 slices of 71 MB each, 18.3 GB. The native engine on Linux
 * returns a sixth of it to the system when a slice is ready.
 */
export function slicedTableBytes(slices: number, sliceOrder: TableOrder = 24): number {
  return slices * tableParts(sliceOrder) * (4 * partCapacity(sliceOrder) + 2 * PART_ENDS);
}

/**
 * Builds the whole table if memory allows.
 * @param memory maximum size, bytes; default: the memory that the system has available
 * @throws {MillraceError} E_MEMORY if it needs more; E_INPUT, E_ENGINE
 */
export async function createSlicedTable(
  options: SlicedOptions,
  memory = Math.floor(SHARE * availableMemory()),
): Promise<SlicedTable> {
  const plan = planOf(options);
  const bytes = slicedTableBytes(plan.sliceCount, plan.sliceOrder);
  if (bytes > memory) {
    throw new MillraceError(
      'E_MEMORY',
      `a table of order ${plan.order} takes ${gigabytes(bytes)}, and ${gigabytes(memory)} are available`,
      { data: { bytes, available: memory } },
    );
  }
  const slices: Slice[] = [];
  const wipeAll = () => {
    for (const { table } of slices) plan.hashes.discard(table);
    slices.length = 0;
  };
  try {
    await eachSlice(plan, async (slice) => {
      slices.push(slice);
      return 'keep';
    });
  } catch (error) {
    wipeAll();
    // The memory was available when it was checked.
    if (error instanceof RangeError)
      throw new MillraceError('E_MEMORY', 'the table does not fit any more', { cause: error });
    throw error;
  }
  let open = true;
  return {
    bytes,
    async lookUp(codes) {
      if (!open) throw new MillraceError('E_STATE', 'the table is closed');
      const found = new Found(plan, codes);
      for (const slice of slices) await found.lookIn(slice);
      return found.candidates();
    },
    async close() {
      open = false;
      wipeAll();
    },
  };
}

/**
 * Finds the same candidates with the memory of one slice, in one pass per slice. Every call hashes all values once, so
 * pass as many codes as possible.
 * @throws {MillraceError} E_INPUT, E_ENGINE
 */
export async function resolveInPasses(options: SlicedOptions, codes: Uint32Array): Promise<Candidates> {
  const plan = planOf(options);
  const found = new Found(plan, codes);
  await eachSlice(plan, async (slice) => {
    await found.lookIn(slice);
    return 'release';
  });
  return found.candidates();
}

interface Plan extends SlicedOptions {
  readonly sliceOrder: TableOrder;
  readonly firstSlice: number;
  readonly sliceCount: number;
  readonly hashes: HashEngine;
}

interface Slice {
  readonly table: HintTable;
  /** g of the slice's value 0. */
  readonly base: number;
}

function planOf(options: SlicedOptions): Plan {
  const { order, sliceOrder = 24, firstSlice = 0 } = options;
  requireBytes('the key', options.key.key, KEY_BYTES);
  if (!isIntegerIn(order, 17, 32) || sliceOrder > order) {
    throw new MillraceError(
      'E_INPUT',
      'the order of a table in slices must be 17 to 32, and not below that of a slice',
    );
  }
  const slices = 2 ** (order - sliceOrder);
  const { sliceCount = slices - firstSlice } = options;
  if (!isIntegerIn(firstSlice, 0, slices - 1) || !isIntegerIn(sliceCount, 1, slices - firstSlice)) {
    throw new MillraceError('E_INPUT', `a table of order ${order} has ${slices} slices of order ${sliceOrder}`);
  }
  return { ...options, sliceOrder, firstSlice, sliceCount, hashes: createEngine(options.engine) };
}

/** Builds the slices one after the other. Keeps or reuses the memory of each, as `use` decides. */
async function eachSlice(plan: Plan, use: (slice: Slice) => Promise<'keep' | 'release'>): Promise<void> {
  const { key, sliceOrder, firstSlice, sliceCount, hashes, signal } = plan;
  const runner: TaskRunner = createRunner(hashes, plan.threads ?? defaultThreads(sliceOrder, hashes));
  const builder = new TableBuilder(sliceOrder, { runner, engine: hashes, memory: new TableMemory() });
  try {
    for (let i = 0; i < sliceCount; i++) {
      signal?.throwIfAborted();
      const base = (firstSlice + i) * 2 ** sliceOrder;
      const table = await builder.build(key, base);
      if ((await use({ table, base })) === 'release') await builder.release(table);
      else builder.handOver(table);
      plan.onProgress?.(i + 1);
    }
  } finally {
    await runner.close();
    await builder.close();
  }
}

/** Codes looked up and hashed again per step, so that the calling thread is not blocked for long. */
const CHUNK = 2 ** 14;

/** Values found so far for each code. */
class Found {
  readonly #plan: Plan;
  readonly #codes: Uint32Array;
  readonly #values: number[][];
  readonly #mask: number;

  constructor(plan: Plan, codes: Uint32Array) {
    this.#plan = plan;
    this.#codes = codes;
    this.#values = Array.from(codes, () => []);
    this.#mask = 2 ** plan.order - 1;
    if (codes.some((code) => code > this.#mask)) {
      throw new MillraceError('E_INPUT', `codes of order ${plan.order} must be below 2^${plan.order}`);
    }
  }

  async lookIn({ table, base }: Slice): Promise<void> {
    const { hashes, key } = this.#plan;
    const long = hashes.later ?? hashes;
    for (let from = 0; from < this.#codes.length; from += CHUNK) {
      const codes = this.#codes.subarray(from, from + CHUNK);
      const { starts, values } = await long.lookUp(table, codes, new Uint8Array(codes.length));
      const guesses = values.map((value) => base + value);
      const again = new Uint32Array(2 * guesses.length);
      hashes.hashBatch(key, 0, guesses, again);
      for (let i = 0; i < codes.length; i++) {
        for (let at = starts[i] ?? 0; at < (starts[i + 1] ?? 0); at++) {
          if (((again[2 * at] ?? 0) & this.#mask) >>> 0 === codes[i]) this.#values[from + i]?.push(guesses[at] ?? 0);
        }
      }
    }
  }

  /** The values of each code in ascending order. */
  candidates(): Candidates {
    const starts = new Uint32Array(this.#codes.length + 1);
    for (const [i, values] of this.#values.entries()) starts[i + 1] = (starts[i] ?? 0) + values.length;
    return { starts, values: Uint32Array.from(this.#values.flatMap((values) => values.sort((a, b) => a - b))) };
  }
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(2)} GB`;
}
