// What slicers write into the comments of their G-code, found while it streams by.

/** Longest comment that is understood; what is carried from one chunk to the next. */
const longest = 160;

interface Note {
  readonly marker: Buffer;
  readonly read: (line: string) => number | undefined;
}

const notes: readonly Note[] = [
  // PrusaSlicer and its kin, near the end: "; estimated printing time (normal mode) = 1d 2h 3m 4s"
  {
    marker: Buffer.from('; estimated printing time (normal mode) = '),
    read: (line) => secondsOf(line.slice(line.indexOf('=') + 1)),
  },
  // CuraEngine, in its header: ";TIME:2797" (6666 stands where it did not know yet)
  { marker: Buffer.from(';TIME:'), read: (line) => numberOf(/^;TIME:(\d+(?:\.\d+)?)\s*$/.exec(line)?.[1]) },
];

/** Finds the slicer's own estimate; holds one comment's length of the design at a time. */
export class SlicerNotes {
  #seconds: number | undefined;
  #carried = Buffer.alloc(0);

  push(chunk: Uint8Array): void {
    const bytes = Buffer.concat([this.#carried, chunk]);
    this.#look(bytes, false);
    this.#carried.fill(0);
    this.#carried = Buffer.from(bytes.subarray(Math.max(0, bytes.length - longest)));
    bytes.fill(0);
  }

  /** The slicer's time for the whole design, s; the last that it wrote. Call it once, at the end. */
  finish(): number | undefined {
    this.#look(this.#carried, true);
    this.#carried.fill(0);
    return this.#seconds;
  }

  #look(bytes: Buffer, last: boolean): void {
    for (const { marker, read } of notes) {
      for (let at = bytes.indexOf(marker); at >= 0; at = bytes.indexOf(marker, at + 1)) {
        const end = bytes.indexOf(10, at);
        // Without its line end it comes again, whole, with the next chunk.
        if (end < 0 && !last) break;
        const stop = end < 0 ? bytes.length : end;
        if (stop - at > longest) continue;
        this.#seconds = read(bytes.toString('latin1', at, stop)) ?? this.#seconds;
      }
    }
  }
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
