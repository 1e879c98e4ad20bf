import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import type { Haystack } from './scan.ts';

const CHUNK = 8 * 2 ** 20;
/** Overlap of consecutive chunks, bytes, so that a run across two chunks is found in the second. */
const OVERLAP = 64;

/** All writable memory of a process, which Linux shows to root and to the parent process. */
export function* memoryOf(name: string, pid: number): Generator<Haystack> {
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    for (const { from, to } of writableRanges(pid)) {
      const buffer = Buffer.alloc(Math.min(CHUNK, to - from));
      for (let at = from; at < to; at += CHUNK - OVERLAP) {
        const read = readAt(memory, buffer, at, Math.min(buffer.length, to - at));
        if (read > 0) yield { name: `${name} at ${at.toString(16)}`, bytes: buffer.subarray(0, read) };
      }
    }
  } finally {
    closeSync(memory);
  }
}

interface AddressRange {
  readonly from: number;
  readonly to: number;
}

/** Writable mappings with at least one resident page. */
function writableRanges(pid: number): AddressRange[] {
  const ranges: AddressRange[] = [];
  let range: AddressRange | undefined;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) /.exec(line);
    if (head !== null) {
      const [, from = '', to = '', mode = ''] = head;
      range = mode.startsWith('rw') ? { from: Number.parseInt(from, 16), to: Number.parseInt(to, 16) } : undefined;
    } else if (range !== undefined && /^Rss: +[1-9]/.test(line)) ranges.push(range);
  }
  return ranges;
}

/** Reads a mapping; empty if it no longer exists. */
function readAt(memory: number, buffer: Buffer, at: number, length: number): number {
  try {
    return readSync(memory, buffer, 0, length, at);
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'EIO' || error.code === 'EFAULT')) return 0;
    throw error;
  }
}
