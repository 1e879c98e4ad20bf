import type { PrintView } from '@millrace/api';

/** Figures of a print as they were read at a time. */
export interface Sample {
  /** Milliseconds since 1970, by this browser's clock. */
  readonly at: number;
  /** °C. */
  readonly hotend: number | undefined;
  readonly bed: number | undefined;
}

/** Two hours of readings, one every two seconds. */
const MAX_SAMPLES = 3_600;
const MAX_PRINTS = 50;

/** What this page has read of running prints, since it was opened. The server keeps no history. */
export class PrintHistory {
  readonly #prints = new Map<string, { samples: Sample[]; figures: string; changed: number }>();

  /** Adds a reading. */
  add({ print, progress }: Pick<PrintView, 'print' | 'progress'>, at: number): void {
    if (progress === undefined) return;
    const known = this.#prints.get(print) ?? { samples: [], figures: '', changed: at };
    this.#prints.set(print, known);
    for (const name of [...this.#prints.keys()].slice(0, -MAX_PRINTS)) this.#prints.delete(name);
    const figures = JSON.stringify(progress);
    // Nothing new has been reported: the last figures are not those of now.
    if (figures === known.figures) return;
    known.figures = figures;
    known.changed = at;
    const { hotend, bed } = progress.machine?.temperatures ?? {};
    known.samples = [...known.samples, { at, hotend, bed }].slice(-MAX_SAMPLES);
  }

  samplesOf(print: string): readonly Sample[] {
    return this.#prints.get(print)?.samples ?? [];
  }

  /** When figures of the print changed last; undefined if there are none. */
  changedAt(print: string): number | undefined {
    return this.#prints.get(print)?.changed;
  }
}

/** Bytes of a design whose first segments the machine has acknowledged. */
export function madeBytes({ acked, size, segmentBytes }: Readonly<Record<'acked' | 'size' | 'segmentBytes', number>>) {
  return Math.min(acked * segmentBytes, size);
}
