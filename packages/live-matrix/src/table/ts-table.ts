import { MillraceError } from '@millrace/base/core';
import type { Candidates } from '../code/solve.ts';
import type { HashEngine, HashKey } from '../engines/engine.ts';
import type { Order } from '../parameters.ts';
import { PART_BUCKETS, partCapacity, SUPERBLOCK, type Table, type TableBuild } from './table.ts';

/** The code's bits within its part: 12 for the bucket, 4 below them. */
const WITHIN_PART = 0xffff;

function partOf(code: number, order: Order): number {
  return (code & (2 ** order - 1)) >>> 16;
}

/**
 * Hashes g = first … first+count-1, whole superblocks, and puts each into its part.
 * @throws {MillraceError} E_INTERNAL when a part is full, which no random function gets to in practice
 */
export function partition(
  hashRange: HashEngine['hashRange'],
  key: HashKey,
  build: TableBuild,
  first: number,
  count: number,
): void {
  const { table, runs, cursors, base = 0 } = build;
  const { order, entries, parts } = table;
  const capacity = partCapacity(order);
  const codes = new Uint32Array(SUPERBLOCK);
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

/** Sorts one part by bucket and writes its ends. */
export function indexPart(build: TableBuild, part: number): void {
  const { table, runs, cursors } = build;
  const { order, parts } = table;
  const base = part * partCapacity(order);
  const entries = table.entries.subarray(base, base + (cursors[part] ?? 0));
  const ends = table.ends.subarray(part * PART_BUCKETS, (part + 1) * PART_BUCKETS);
  const copy = Uint32Array.from(entries);
  ends.fill(0);
  for (const entry of copy) ends[entry >>> 19] = (ends[entry >>> 19] ?? 0) + 1;
  let at = 0;
  for (let bucket = 0; bucket < PART_BUCKETS; bucket++) {
    const size = ends[bucket] ?? 0;
    ends[bucket] = at;
    at += size;
  }
  for (let superblock = 0; superblock < 2 ** order / SUPERBLOCK; superblock++) {
    const start = runs[2 * (superblock * parts + part)] ?? 0;
    const end = start + (runs[2 * (superblock * parts + part) + 1] ?? 0);
    for (let i = start; i < end; i++) {
      const entry = copy[i] ?? 0;
      const bucket = entry >>> 19;
      const to = ends[bucket] ?? 0;
      ends[bucket] = to + 1;
      entries[to] = (superblock * SUPERBLOCK) | (entry & (SUPERBLOCK - 1)) | (((entry >>> 15) & 15) << order);
    }
  }
  for (let bucket = 0; bucket < PART_BUCKETS; bucket++) ends[bucket] = (ends[bucket] ?? 0) + base;
  copy.fill(0);
}

/**
 * Every g whose dense code is that of each hint. Of sparse hints only the dense part is compared: the caller hashes
 * again what is ambiguous.
 * @param codes hints as numbers
 * @param skip 1 where the hint is chaff: its only candidate is then 0
 */
export function lookUp(table: Table, codes: Uint32Array, skip: Uint8Array): Candidates {
  const { order, entries, ends } = table;
  const capacity = partCapacity(order);
  const starts = new Uint32Array(codes.length + 1);
  let found = new Uint32Array(4 * codes.length + 64);
  let to = 0;
  for (let i = 0; i < codes.length; i++) {
    starts[i] = to;
    const code = codes[i] ?? 0;
    const bucket = (code & (2 ** order - 1)) >>> 4;
    const end = ends[bucket] ?? 0;
    const isFirst = bucket % PART_BUCKETS === 0;
    let at = isFirst ? (bucket / PART_BUCKETS) * capacity : (ends[bucket - 1] ?? 0);
    if (skip[i] === 1) {
      at = end;
      found[to++] = 0;
    }
    for (; at < end; at++) {
      const entry = entries[at] ?? 0;
      if (entry >>> order === (code & 15)) found[to++] = entry & (2 ** order - 1);
      if (to === found.length) found = grow(found);
    }
    if (to === found.length) found = grow(found);
  }
  starts[codes.length] = to;
  return { starts, values: found.subarray(0, to) };
}

function grow(values: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(2 * values.length);
  larger.set(values);
  return larger;
}
