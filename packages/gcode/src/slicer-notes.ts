// Finds estimates that slicers write into the comments of their G-code, while it streams through.

import { concatBytes, utf8 } from '@millrace/base/core';

/** Maximum comment that is parsed, bytes. This much is carried from one chunk to the next. */
const MAX_COMMENT = 160;
const LINE_FEED = 10;
const latin1 = new TextDecoder('latin1');

interface Note {
  readonly marker: Uint8Array;
  readonly read: (line: string) => number | undefined;
}

const notes: readonly Note[] = [
  // PrusaSlicer and its forks, near the end: "; estimated printing time (normal mode) = 1d 2h 3m 4s"
  {
    marker: utf8('; estimated printing time (normal mode) = '),
    read: (line) => secondsOf(line.slice(line.indexOf('=') + 1)),
  },
  // CuraEngine, in its header: ";TIME:2797" (6666 is its placeholder for "unknown")
  { marker: utf8(';TIME:'), read: (line) => numberOf(/^;TIME:(\d+(?:\.\d+)?)\s*$/.exec(line)?.[1]) },
];

/** Finds the slicer's time estimate. Between chunks it holds at most one comment's length of the design. */
export class SlicerNotes {
  #seconds: number | undefined;
  #carried = new Uint8Array(0);

  push(chunk: Uint8Array): void {
    const bytes = concatBytes(this.#carried, chunk);
    this.#look(bytes, false);
    this.#carried.fill(0);
    this.#carried = bytes.slice(Math.max(0, bytes.length - MAX_COMMENT));
    bytes.fill(0);
  }

  /** The slicer's time for the whole design in seconds: the last estimate found. Call this once, at the end. */
  finish(): number | undefined {
    this.#look(this.#carried, true);
    this.#carried.fill(0);
    return this.#seconds;
  }

  #look(bytes: Uint8Array, last: boolean): void {
    for (const { marker, read } of notes) {
      for (let at = find(bytes, marker, 0); at >= 0; at = find(bytes, marker, at + 1)) {
        const end = bytes.indexOf(LINE_FEED, at);
        // The rest of the line is in the next chunk, so this part is carried over.
        if (end < 0 && !last) break;
        const stop = end < 0 ? bytes.length : end;
        if (stop - at > MAX_COMMENT) continue;
        this.#seconds = read(latin1.decode(bytes.subarray(at, stop))) ?? this.#seconds;
      }
    }
  }
}

/** Index of `marker` in `bytes` at or after `from`; -1 if absent. */
function find(bytes: Uint8Array, marker: Uint8Array, from: number): number {
  const first = marker[0] ?? 0;
  for (let at = bytes.indexOf(first, from); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (at + marker.length > bytes.length) return -1;
    if (marker.every((byte, n) => bytes[at + n] === byte)) return at;
  }
  return -1;
}

function secondsOf(text: string): number | undefined {
  const parts = /^\s*(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+)s)?\s*$/.exec(text);
  if (parts === null || parts.slice(1).every((part) => part === undefined)) return undefined;
  const [days, hours, minutes, seconds] = parts.slice(1).map((part) => Number(part ?? 0));
  return (((days ?? 0) * 24 + (hours ?? 0)) * 60 + (minutes ?? 0)) * 60 + (seconds ?? 0);
}

function numberOf(text: string | undefined): number | undefined {
  return text === undefined || text === '6666' ? undefined : Number(text);
}
