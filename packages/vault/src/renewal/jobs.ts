import { readSync, writeSync } from 'node:fs';
import { ctr } from '../ctr.ts';
import { KEY_BYTES, SEGMENT_BYTES, SLOT_BYTES } from '../sizes.ts';

// Work of a renewing thread: reads cells, applies both layers in one pass each, writes the cells. Loads no library.

/** Bytes of a body that are stored in the index, not in the slot. */
export const BODY_HEAD = SEGMENT_BYTES - SLOT_BYTES;
/**
 * u32 old slot ‖ u32 new slot ‖ body head ‖ fill, then the keys or the mask. Aligned to 4, so that words can be read.
 */
export const JOB_HEADER = 12;
const secretBytes = (kind: JobKind): number => (kind === 'keys' ? 2 * KEY_BYTES : SEGMENT_BYTES);
export const lengthOf = (kind: JobKind): number => JOB_HEADER + 4 * Math.ceil(secretBytes(kind) / 4);

/** `keys`: old and new outer key. `mask`: the mask to XOR, without a key. */
export type JobKind = 'keys' | 'mask';

export interface RenewJob {
  readonly file: number;
  readonly kind: JobKind;
  readonly count: number;
  /** Begins with `count` records of `lengthOf(kind)` bytes. Wiped after the job, then returned for reuse. */
  readonly records: Uint8Array<ArrayBuffer>;
}

export interface RenewDone {
  /** The job's buffer, for reuse. */
  readonly records: Uint8Array<ArrayBuffer>;
  readonly heads: Uint8Array<ArrayBuffer>;
  /** Upper bound of the job's core time: time in the thread, including waits for the disk. */
  readonly workMs: number;
}

/**
 * Renews the cells of a job. Consecutive new slots are written at once.
 * @param out buffer for the written slots: SLOT_BYTES for each cell
 * @returns the first BODY_HEAD bytes of every new body
 * @throws the system's error if the file cannot be read or written
 */
export function runJob(
  { file, kind, count, records }: RenewJob,
  out: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  const each = lengthOf(kind);
  const view = new DataView(records.buffer, records.byteOffset, records.length);
  const heads = new Uint8Array(BODY_HEAD * count);
  const body = new Uint8Array(SEGMENT_BYTES);
  const slots: number[] = [];
  try {
    for (let i = 0; i < count; i++) {
      const at = i * each;
      body.set(records.subarray(at + 8, at + 8 + BODY_HEAD));
      readWhole(file, body, BODY_HEAD, view.getUint32(at));
      slots.push(view.getUint32(at + 4));
      const secret = records.subarray(at + JOB_HEADER, at + JOB_HEADER + secretBytes(kind));
      const renewed = kind === 'keys' ? rekeyed(body, secret) : xorInto(body, secret);
      heads.set(renewed.subarray(0, BODY_HEAD), i * BODY_HEAD);
      out.set(renewed.subarray(BODY_HEAD), i * SLOT_BYTES);
    }
    writeSlots(file, out, slots);
    return heads;
  } finally {
    records.fill(0, 0, each * count);
  }
}

function rekeyed(body: Uint8Array, keys: Uint8Array): Uint8Array {
  const sealed = ctr(keys.subarray(0, KEY_BYTES), body);
  const renewed = ctr(keys.subarray(KEY_BYTES), sealed);
  sealed.fill(0);
  return renewed;
}

/** `target ⊕= mask`, four bytes at a time if both are aligned. */
export function xorInto(target: Uint8Array<ArrayBuffer>, mask: Uint8Array): Uint8Array<ArrayBuffer> {
  const words = target.byteOffset % 4 === 0 ? target.length >> 2 : 0;
  // Copy an unaligned mask once, so that both can be read by words.
  const even = mask.byteOffset % 4 === 0 ? mask : new Uint8Array(mask);
  const a = new Uint32Array(target.buffer, words === 0 ? 0 : target.byteOffset, words);
  const b = new Uint32Array(even.buffer, even.byteOffset, words);
  for (let i = 0; i < words; i++) a[i] = (a[i] ?? 0) ^ (b[i] ?? 0);
  for (let i = words << 2; i < target.length; i++) target[i] = (target[i] ?? 0) ^ (even[i] ?? 0);
  return target;
}

/** A truncated slot reads as zeros. The tag inside, or a check, detects that. */
function readWhole(file: number, into: Uint8Array, offset: number, slot: number): void {
  let done = 0;
  while (done < SLOT_BYTES) {
    const read = readSync(file, into, offset + done, SLOT_BYTES - done, slot * SLOT_BYTES + done);
    if (read === 0) {
      into.fill(0, offset + done);
      return;
    }
    done += read;
  }
}

/**
 * Writes each slot separately, even adjacent ones: the page cache keeps the data of one write as one unit, and scans
 * the whole unit later when one of its slots is flushed.
 */
function writeSlots(file: number, out: Uint8Array, slots: readonly number[]): void {
  for (const [i, slot] of slots.entries()) {
    for (let done = 0; done < SLOT_BYTES; ) {
      done += writeSync(file, out, i * SLOT_BYTES + done, SLOT_BYTES - done, slot * SLOT_BYTES + done);
    }
  }
}
