import type { TableOrder } from '../parameters.ts';
import { sharedMemory } from '../shared.ts';

/**
 * The inverse of H under one revision's key: maps a code to every g that has it. It is not a hash table: 16
 * neighbouring codes form a bucket, 4096 buckets a part, and a part's buckets are contiguous.
 *
 * A bucket with n values has ceil((16 + n) / 8) bytes of bits, the lowest first: for each code a 1 per value, then a 0.
 * The values follow, 3 bytes each, little-endian, in the order of the codes and of g, backwards from the bucket's end.
 * So an entry takes 26 bits instead of the 32 of a word.
 *
 * Each part has room for a fixed number of words, somewhat more than a random function needs. So a part can be filled,
 * with one word per value, before the sizes of the others are known. The rest after packing is returned to the system
 * or zero.
 */
export interface HintTable {
  readonly order: TableOrder;
  readonly parts: number;
  /** parts × capacity words: values while the table is filled, then the bytes of the buckets. */
  readonly entries: Uint32Array;
  /**
   * End of each bucket. A part has PART_ENDS numbers. First the starts of its 16 groups of 256 buckets, in units of 8
   * bytes from the part's start. Then the end of every bucket, in bytes from its group's start; 0 while the part is not
   * packed. A bucket starts at the end of the previous one; the first bucket of a group starts at the group's start.
   */
  readonly ends: Uint16Array;
}

/**
 * A table and the scratch memory for building it. Values are hashed in superblocks of 2^15; each superblock's values of
 * one part form a run. While a part is filled, its entries hold the low 15 bits of g and, above them, the code's 16
 * bits within the part. The run of an entry determines the rest of g. So building takes hardly more memory than the
 * table.
 */
export interface TableBuild {
  readonly table: HintTable;
  /** g of the table's value 0, a multiple of the table's size below 2^32. Default: 0. */
  readonly base?: number;
  /** For superblock s and part p, at 2·(s·parts + p): the start of the run in the part, and its length. */
  readonly runs: Uint32Array;
  /** Number of entries so far in each part, incremented atomically: several threads fill one table. */
  readonly cursors: Uint32Array;
}

export const SUPERBLOCK = 2 ** 15;

export const PART_BUCKETS = 4096;
export const GROUP_BUCKETS = 256;
export const GROUPS = PART_BUCKETS / GROUP_BUCKETS;
export const GROUP_UNIT = 8;
export const PART_ENDS = GROUPS + PART_BUCKETS;
export const BUCKET_CODES = 16;
export const VALUE_BYTES = 3;
/** Maximum values in one bucket. The mean is 16. */
export const MAX_VALUES = 255;

export function tableParts(order: TableOrder): number {
  return 2 ** (order - 16);
}

/** Capacity of a part in entries: the mean of 65,536 plus eight standard deviations. Order 16 has only one part. */
export function partCapacity(order: TableOrder): number {
  return order === 16 ? 65_536 : 65_536 + 2_048;
}

/** A table in shared memory, so that worker threads fill and read it in place. */
export function allocateTable(order: TableOrder): HintTable {
  const parts = tableParts(order);
  return {
    order,
    parts,
    entries: new Uint32Array(sharedMemory(4 * parts * partCapacity(order))),
    ends: new Uint16Array(sharedMemory(2 * parts * PART_ENDS)),
  };
}

/** Scratch memory for building. One is enough for all tables of a receiver. */
export function allocateScratch(order: TableOrder): Omit<TableBuild, 'table'> {
  const parts = tableParts(order);
  return {
    runs: new Uint32Array(sharedMemory(8 * parts * (2 ** order / SUPERBLOCK))),
    cursors: new Uint32Array(sharedMemory(4 * parts)),
  };
}

/** Wipes a table. It is as secret as its key, because it resolves the revision's hints. */
export function wipeTable(table: HintTable): void {
  table.entries.fill(0);
  table.ends.fill(0);
}
