import { MillraceError } from '@millrace/base';
import type { Candidates } from '../code/solve.ts';
import type { HashEngine, HashKey } from '../engines/engine.ts';
import type { HintMode, Order } from '../parameters.ts';
import { PART_BUCKETS, partCapacity, type Table, type TableBuild } from './table.ts';

/** Values that are hashed before they are put into their parts. */
const CHUNK = 2 ** 15;

/** Bucket of a code: its low `order` bits without the last four; the part is the bucket's upper bits. */
function bucketOf(code: number, order: Order): number {
  return (code >>> 4) & (2 ** (order - 4) - 1);
}

/** The part of an entry above its value. */
function tagOf(code: number, order: Order): number {
  return (((code & 15) << order) | ((code >>> order) << (order + 4))) >>> 0;
}

/**
 * Hashes g = first … first+count-1 and puts each into its part.
 * @throws {MillraceError} E_INTERNAL when a part is full, which no random function gets to in practice
 */
export function partition(
  hashRange: HashEngine['hashRange'],
  key: HashKey,
  build: TableBuild,
  first: number,
  count: number,
): void {
  const { table, local, cursors } = build;
  const { order, entries } = table;
  const capacity = partCapacity(order);
  const codes = new Uint32Array(Math.min(CHUNK, count));
  const next = new Uint32Array(table.parts);
  for (let done = 0; done < count; done += CHUNK) {
    const chunk = codes.subarray(0, Math.min(CHUNK, count - done));
    hashRange(key, first + done, chunk);
    next.fill(0);
    for (const code of chunk) {
      const part = Math.floor(bucketOf(code, order) / PART_BUCKETS);
      next[part] = (next[part] ?? 0) + 1;
    }
    for (let part = 0; part < table.parts; part++) {
      const wanted = next[part] ?? 0;
      const from = Atomics.add(cursors, part, wanted);
      if (from + wanted > capacity) throw partFull();
      next[part] = part * capacity + from;
    }
    for (let i = 0; i < chunk.length; i++) {
      const code = chunk[i] ?? 0;
      const bucket = bucketOf(code, order);
      const part = Math.floor(bucket / PART_BUCKETS);
      const to = next[part] ?? 0;
      next[part] = to + 1;
      entries[to] = (first + done + i) | tagOf(code, order);
      local[to] = bucket % PART_BUCKETS;
    }
  }
  codes.fill(0);
}

export function partFull(): MillraceError {
  return new MillraceError('E_INTERNAL', 'a part of the table is full');
}

/** Sorts one part by bucket, writes its ends, wipes its scratch. */
export function indexPart(build: TableBuild, part: number): void {
  const { table, local, cursors } = build;
  const base = part * partCapacity(table.order);
  const count = cursors[part] ?? 0;
  const entries = table.entries.subarray(base, base + count);
  const places = local.subarray(base, base + count);
  const ends = table.ends.subarray(part * PART_BUCKETS, (part + 1) * PART_BUCKETS);
  const copy = Uint32Array.from(entries);
  ends.fill(0);
  for (const bucket of places) ends[bucket] = (ends[bucket] ?? 0) + 1;
  let at = 0;
  for (let bucket = 0; bucket < PART_BUCKETS; bucket++) {
    const size = ends[bucket] ?? 0;
    ends[bucket] = at;
    at += size;
  }
  for (let i = 0; i < count; i++) {
    const bucket = places[i] ?? 0;
    const to = ends[bucket] ?? 0;
    ends[bucket] = to + 1;
    entries[to] = copy[i] ?? 0;
  }
  for (let bucket = 0; bucket < PART_BUCKETS; bucket++) ends[bucket] = (ends[bucket] ?? 0) + base;
  copy.fill(0);
  places.fill(0);
}

/**
 * Every g whose code begins with each hint. Sparse hints of order 24 have 32 bits and entries keep 28 of them, so that
 * a look-up finds one false value for 16 hints: the caller hashes again what is ambiguous.
 * @param codes hints as numbers
 * @param skip 1 where the hint is chaff: its only candidate is then 0
 */
export function lookUp(table: Table, mode: HintMode, codes: Uint32Array, skip: Uint8Array): Candidates {
  const { order, entries, ends } = table;
  const capacity = partCapacity(order);
  const highBits = mode === 'dense' ? 0 : Math.min(8, 28 - order);
  const tagMask = ((15 | ((2 ** highBits - 1) << 4)) << order) >>> 0;
  const starts = new Uint32Array(codes.length + 1);
  let found = new Uint32Array(4 * codes.length + 64);
  let to = 0;
  for (let i = 0; i < codes.length; i++) {
    starts[i] = to;
    const code = codes[i] ?? 0;
    const bucket = bucketOf(code, order);
    const tag = (tagOf(code, order) & tagMask) >>> 0;
    const end = ends[bucket] ?? 0;
    const isFirst = bucket % PART_BUCKETS === 0;
    let at = isFirst ? (bucket / PART_BUCKETS) * capacity : (ends[bucket - 1] ?? 0);
    if (skip[i] === 1) {
      at = end;
      found[to++] = 0;
    }
    for (; at < end; at++) {
      const entry = entries[at] ?? 0;
      if ((entry & tagMask) >>> 0 === tag) found[to++] = entry & (2 ** order - 1);
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
