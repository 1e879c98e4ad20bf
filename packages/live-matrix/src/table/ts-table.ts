import { MillraceError } from '@millrace/base/core';
import type { Candidates } from '../code/solve.ts';
import type { HashEngine, HashKey } from '../engines/engine.ts';
import type { TableOrder } from '../parameters.ts';
import {
  BUCKET_CODES,
  GROUP_BUCKETS,
  GROUP_UNIT,
  GROUPS,
  type HintTable,
  MAX_VALUES,
  PART_BUCKETS,
  PART_ENDS,
  partCapacity,
  SUPERBLOCK,
  type TableBuild,
  VALUE_BYTES,
} from './hint-table.ts';

/** The code's bits within its part: 12 for the bucket, 4 below them. */
const WITHIN_PART = 0xffff;
/** While a part is filled: 15 bits of g, 4 of the code within its bucket, then the bucket. */
const BUCKET_SHIFT = 19;

function partOf(code: number, order: TableOrder): number {
  return (code & (2 ** order - 1)) >>> 16;
}

/**
 * Hashes g = first … first+count-1, whole superblocks, and puts each into its part.
 * @throws {MillraceError} E_INTERNAL if a part is full, which does not happen in practice with a random function
 */
export function partition(
  hashRange: HashEngine['hashRange'],
  key: HashKey,
  build: TableBuild,
  first: number,
  count: number,
  codes = new Uint32Array(SUPERBLOCK),
): void {
  const { table, runs, cursors, base = 0 } = build;
  const { order, entries, parts } = table;
  const capacity = partCapacity(order);
  const next = new Uint32Array(parts);
  for (let done = 0; done < count; done += SUPERBLOCK) {
    hashRange(key, base + first + done, codes);
    next.fill(0);
    for (const code of codes) {
      const part = partOf(code, order);
      next[part] = (next[part] ?? 0) + 1;
    }
    const superblock = (first + done) / SUPERBLOCK;
    for (let part = 0; part < parts; part++) {
      const length = next[part] ?? 0;
      const from = Atomics.add(cursors, part, length);
      if (from + length > capacity) throw partFull();
      runs[2 * (superblock * parts + part)] = from;
      runs[2 * (superblock * parts + part) + 1] = length;
      next[part] = part * capacity + from;
    }
    for (let i = 0; i < SUPERBLOCK; i++) {
      const code = codes[i] ?? 0;
      const part = partOf(code, order);
      const to = next[part] ?? 0;
      next[part] = to + 1;
      entries[to] = i | ((code & WITHIN_PART) << 15);
    }
  }
  codes.fill(0);
}

export function partFull(): MillraceError {
  return new MillraceError('E_INTERNAL', 'a part of the table is full');
}

/** Scratch memory to sort a part: its values, and the next position of each bucket. */
export const indexRoom = (order: TableOrder) => ({
  sorted: new Uint32Array(partCapacity(order)),
  firsts: new Uint32Array(PART_BUCKETS),
});

/**
 * Sorts one part by bucket, packs it and writes its ends.
 * @param room scratch memory, wiped afterwards; pass the same one for all parts
 * @throws {MillraceError} E_INTERNAL if a bucket has too many values, which does not happen in practice with a random
 *   function
 */
export function indexPart(build: TableBuild, part: number, { sorted, firsts } = indexRoom(build.table.order)): void {
  const { table, runs, cursors } = build;
  const { order, parts } = table;
  const start = part * partCapacity(order);
  const entries = table.entries.subarray(start, start + partCapacity(order));
  const count = cursors[part] ?? 0;
  const ends = table.ends.subarray(part * PART_ENDS, (part + 1) * PART_ENDS);
  firsts.fill(0);
  for (let i = 0; i < count; i++) {
    const bucket = (entries[i] ?? 0) >>> BUCKET_SHIFT;
    firsts[bucket] = (firsts[bucket] ?? 0) + 1;
  }
  let at = 0;
  for (let bucket = 0; bucket < PART_BUCKETS; bucket++) {
    const size = firsts[bucket] ?? 0;
    firsts[bucket] = at;
    at += size;
  }
  for (let superblock = 0; superblock < 2 ** order / SUPERBLOCK; superblock++) {
    const from = runs[2 * (superblock * parts + part)] ?? 0;
    const end = from + (runs[2 * (superblock * parts + part) + 1] ?? 0);
    for (let i = from; i < end; i++) {
      const entry = entries[i] ?? 0;
      const bucket = entry >>> BUCKET_SHIFT;
      const to = firsts[bucket] ?? 0;
      firsts[bucket] = to + 1;
      sorted[to] = (superblock * SUPERBLOCK) | (entry & (SUPERBLOCK - 1)) | (((entry >>> 15) & 15) << order);
    }
  }
  // The entries have been copied, so the buckets may overwrite them.
  const bytes = bytesOf(entries);
  let [size, group] = [0, 0];
  const next = new Uint32Array(BUCKET_CODES + 1);
  for (let bucket = 0, from = 0; bucket < PART_BUCKETS; bucket++) {
    const to = firsts[bucket] ?? 0;
    if (to - from > MAX_VALUES) throw partFull();
    if (bucket % GROUP_BUCKETS === 0) {
      while (size % GROUP_UNIT !== 0) bytes[size++] = 0;
      group = size;
      ends[bucket / GROUP_BUCKETS] = group / GROUP_UNIT;
    }
    size = packBucket(bytes, size, sorted, from, to, order, next);
    if (size - group >= 2 ** 16) throw partFull();
    ends[GROUPS + bucket] = size - group;
    from = to;
  }
  bytes.fill(0, size);
  sorted.fill(0, 0, count);
}

/** Writes the bucket of sorted[from] … sorted[to-1] and returns its end. `next` is scratch memory for counting. */
function packBucket(
  bytes: Uint8Array,
  start: number,
  sorted: Uint32Array,
  from: number,
  to: number,
  order: TableOrder,
  next: Uint32Array,
): number {
  const bits = (BUCKET_CODES + to - from + 7) >>> 3;
  const end = start + bits + VALUE_BYTES * (to - from);
  next.fill(0);
  for (let i = from; i < to; i++) {
    const after = ((sorted[i] ?? 0) >>> order) + 1;
    next[after] = (next[after] ?? 0) + 1;
  }
  bytes.fill(0, start, start + bits);
  for (let code = 0, bit = 0; code < BUCKET_CODES; code++, bit++) {
    const count = next[code + 1] ?? 0;
    for (const last = bit + count; bit < last; bit++) {
      const at = start + (bit >>> 3);
      bytes[at] = (bytes[at] ?? 0) | (1 << (bit & 7));
    }
    next[code + 1] = count + (next[code] ?? 0);
  }
  for (let i = from; i < to; i++) {
    const entry = sorted[i] ?? 0;
    const number = next[entry >>> order] ?? 0;
    next[entry >>> order] = number + 1;
    const at = end - VALUE_BYTES * (number + 1);
    bytes[at] = entry;
    bytes[at + 1] = entry >>> 8;
    bytes[at + 2] = (entry >>> 16) & ((2 ** order - 1) >>> 16);
  }
  return end;
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/**
 * Finds every g whose dense code equals that of each hint. For sparse hints only the dense part is compared: the caller
 * hashes ambiguous candidates again.
 * @param codes hints as numbers
 * @param skip 1 where the hint is chaff: its only candidate is then 0
 */
export function lookUp(table: HintTable, codes: Uint32Array, skip: Uint8Array): Candidates {
  const { order } = table;
  const bytes = bytesOf(table.entries);
  const starts = new Uint32Array(codes.length + 1);
  let found = new Uint32Array(4 * codes.length + 64);
  let to = 0;
  for (let i = 0; i < codes.length; i++) {
    starts[i] = to;
    if (to === found.length) found = grow(found);
    if (skip[i] === 1) {
      found[to++] = 0;
      continue;
    }
    const code = codes[i] ?? 0;
    const bucket = (code & (2 ** order - 1)) >>> 4;
    const start = startOf(table, bucket);
    const end = endOf(table, bucket);
    let bit = 8 * start;
    let value = end;
    for (let zeros = code & (BUCKET_CODES - 1); zeros > 0 && bit < 8 * end; bit++) {
      if (isSet(bytes, bit)) value -= VALUE_BYTES;
      else zeros--;
    }
    for (; bit < 8 * end && isSet(bytes, bit); bit++) {
      value -= VALUE_BYTES;
      if (to === found.length) found = grow(found);
      found[to++] = (bytes[value] ?? 0) | ((bytes[value + 1] ?? 0) << 8) | ((bytes[value + 2] ?? 0) << 16);
    }
  }
  starts[codes.length] = to;
  return { starts, values: found.subarray(0, to) };
}

/** End of a bucket in bytes. In a part that is not packed, its start. */
function endOf({ ends, order }: HintTable, bucket: number): number {
  const [part, within] = [Math.floor(bucket / PART_BUCKETS), bucket % PART_BUCKETS];
  const group = ends[part * PART_ENDS + Math.floor(within / GROUP_BUCKETS)] ?? 0;
  const end = ends[part * PART_ENDS + GROUPS + within] ?? 0;
  return part * 4 * partCapacity(order) + group * GROUP_UNIT + end;
}

function startOf(table: HintTable, bucket: number): number {
  if (bucket % GROUP_BUCKETS !== 0) return endOf(table, bucket - 1);
  const [part, within] = [Math.floor(bucket / PART_BUCKETS), bucket % PART_BUCKETS];
  const group = table.ends[part * PART_ENDS + within / GROUP_BUCKETS] ?? 0;
  return part * 4 * partCapacity(table.order) + group * GROUP_UNIT;
}

function isSet(bytes: Uint8Array, bit: number): boolean {
  return (((bytes[bit >>> 3] ?? 0) >>> (bit & 7)) & 1) === 1;
}

function grow(values: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(2 * values.length);
  larger.set(values);
  return larger;
}
