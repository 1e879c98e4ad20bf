import type { HintMode, Order } from '../parameters.ts';

/**
 * The inverse of H under one revision's key: from a code to every g that has it. Entries are grouped in buckets of
 * 16 codes by their place; no hash table. An entry is one word: g in the low `order` bits, above it the code's low
 * 4 bits, above those as many of the code's higher bits (from bit `order` on) as there is room for.
 */
export interface Table {
  /** 2^order entries. */
  readonly entries: Uint32Array;
  /** 2^(order-4) buckets: where each ends. A bucket starts where the one before it ends. */
  readonly ends: Uint32Array;
}

export function tableEntries(order: Order): number {
  return 2 ** order;
}

export function tableBuckets(order: Order): number {
  return 2 ** (order - 4);
}

/** A table over shared memory, so that worker threads fill and read it in place. */
export function allocateTable(order: Order): Table {
  return {
    entries: new Uint32Array(new SharedArrayBuffer(4 * tableEntries(order))),
    ends: new Uint32Array(new SharedArrayBuffer(4 * tableBuckets(order))),
  };
}

/** The table is as secret as its key: whoever has it resolves the revision's hints. */
export function wipeTable(table: Table): void {
  table.entries.fill(0);
  table.ends.fill(0);
}

/** An index is built in parts that do not touch each other: each holds the codes of so many equal ranges. */
export const PARTS = 16;

function partOf(code: number, order: Order): number {
  return (code & (2 ** order - 1)) >>> (order - 4);
}

/** Counts the codes of each part: `counts` has PARTS places and is added to. */
export function countParts(codes: Uint32Array, order: Order, counts: Uint32Array): void {
  for (const code of codes) {
    const part = partOf(code, order);
    counts[part] = (counts[part] ?? 0) + 1;
  }
}

/**
 * Writes one part of the index by counting sort.
 * @param codes low words of H for every g, in the order of g
 * @param start number of entries in the parts before this one
 */
export function indexPart(codes: Uint32Array, order: Order, part: number, start: number, table: Table): void {
  const { entries, ends } = table;
  const bucketMask = tableBuckets(order) - 1;
  const firstBucket = part << (order - 8);
  const lastBucket = firstBucket + 2 ** (order - 8);
  const shift = order - 4;
  const partMask = PARTS - 1;
  ends.fill(0, firstBucket, lastBucket);
  for (let g = 0; g < codes.length; g++) {
    const code = codes[g] ?? 0;
    if (((code >>> shift) & partMask) !== part) continue;
    const bucket = (code >>> 4) & bucketMask;
    ends[bucket] = (ends[bucket] ?? 0) + 1;
  }
  let at = start;
  for (let bucket = firstBucket; bucket < lastBucket; bucket++) {
    const count = ends[bucket] ?? 0;
    ends[bucket] = at;
    at += count;
  }
  const highMask = 2 ** (28 - order) - 1;
  for (let g = 0; g < codes.length; g++) {
    const code = codes[g] ?? 0;
    if (((code >>> shift) & partMask) !== part) continue;
    const bucket = (code >>> 4) & bucketMask;
    const place = ends[bucket] ?? 0;
    ends[bucket] = place + 1;
    entries[place] = g | ((code & 15) << order) | (((code >>> order) & highMask) << (order + 4));
  }
}

/**
 * Every g whose code begins with the hint. Sparse hints of order 24 have 32 bits and entries keep 28 of them, so
 * that one entry in 16 of a look-up's results is wrong: the caller hashes again what is ambiguous.
 * @param found receives the values from `at` on; must have room (a bucket's size)
 * @returns the end of what was written
 */
export function lookUp(
  table: Table,
  order: Order,
  mode: HintMode,
  code: number,
  found: Uint32Array,
  at: number,
): number {
  const { entries, ends } = table;
  const bucket = (code >>> 4) & (tableBuckets(order) - 1);
  const highMask = mode === 'dense' ? 0 : 2 ** Math.min(8, 28 - order) - 1;
  const tagMask = 15 | (highMask << 4);
  const tag = (code & 15) | (((code >>> order) & highMask) << 4);
  const end = ends[bucket] ?? 0;
  let to = at;
  for (let i = bucket === 0 ? 0 : (ends[bucket - 1] ?? 0); i < end; i++) {
    const entry = entries[i] ?? 0;
    if (((entry >>> order) & tagMask) === tag) found[to++] = entry & (2 ** order - 1);
  }
  return to;
}
