import { MillraceError } from '@millrace/base';
import { numbered } from './writer.ts';

/** A numbered line. It is kept after the firmware has taken it, because a request to resend may still name it. */
interface Line {
  readonly number: number;
  readonly bytes: Uint8Array;
  /** A command of the design; the others are the driver's own. */
  readonly counts: boolean;
  /** M105, whose answer cannot be confused with another. */
  readonly report: boolean;
}

export interface FlowOptions {
  /** Most lines and bytes that the firmware may have to keep: its command queue and its receive buffer. */
  readonly lines: number;
  readonly bytes: number;
}

/** Lines kept after they were taken. */
const HISTORY = 64;
/** Requests to resend, one after the other and without progress, after which the connection is given up. */
const MAX_RESENDS = 100;

/**
 * The numbered stream to a RepRap firmware: which lines are out, what an answer means, what has to be sent again.
 *
 * An `ok` names no line (without ADVANCED_OK), and may be lost or extra after a transmission error. Therefore: numbers
 * and checksums decide what the firmware has received; an `ok` opens the window; the answer to M105 tells exactly how
 * far the firmware is.
 */
export class MarlinFlow {
  readonly #options: FlowOptions;
  readonly #lines: Line[] = [];
  #next = 1;
  /** First line to write; below `#next` after a request to resend. */
  #toWrite = 1;
  /** Lines below were written at least once. */
  #written = 1;
  /** Lines below are out of the window. */
  #acknowledged = 1;
  /** Lines below were reported as taken. */
  #taken = 1;
  #slots: number;
  /** A request to resend has come, and others for the same error may follow. Nothing is written meanwhile. */
  #settling = false;
  /** After an error, one line at a time up to this one. */
  #careful = 0;
  #resends = 0;

  constructor(options: FlowOptions) {
    this.#options = options;
    this.#slots = options.lines;
  }

  /** Number of lines that were written and not acknowledged. */
  get inFlight(): number {
    return this.#toWrite - this.#acknowledged;
  }

  /** Whether every line was written and acknowledged. */
  get isEmpty(): boolean {
    return this.inFlight === 0 && this.#toWrite === this.#next && !this.#settling;
  }

  /** Number of questions for the position in the stream that are out. */
  get openReports(): number {
    return this.#lines.filter(({ number, report }) => report && number >= this.#acknowledged).length;
  }

  get isSettling(): boolean {
    return this.#settling;
  }

  /** Whether a command of this length can be added and written now. */
  hasRoom(length: number): boolean {
    return this.#toWrite === this.#next && this.#fits(length + 15);
  }

  add(command: Uint8Array, kind: 'design' | 'own' | 'report' = 'own'): void {
    const number = this.#next++;
    const bytes = numbered(number, command);
    this.#lines.push({ number, bytes, counts: kind === 'design', report: kind === 'report' });
  }

  /** Takes the next line to write, if the window allows it. @param force ignores the window */
  write(force = false): Uint8Array | undefined {
    if (this.#settling || this.#toWrite === this.#next) return undefined;
    const line = this.#line(this.#toWrite);
    if (line === undefined || (!force && !this.#fits(line.bytes.length))) return undefined;
    this.#toWrite += 1;
    this.#written = Math.max(this.#written, this.#toWrite);
    return line.bytes;
  }

  /** @returns the number of commands of the design that were taken with it */
  ok({ line, slots, report }: { readonly line?: number; readonly slots?: number; readonly report: boolean }): number {
    if (slots !== undefined) this.#slots = Math.max(1, Math.min(slots, this.#options.lines));
    if (report) {
      const answered = this.#lines.find(
        ({ number, report }) => report && number >= this.#acknowledged && number < this.#toWrite,
      );
      return answered === undefined ? 0 : this.#acknowledge(answered.number + 1, true);
    }
    if (line !== undefined) return line < this.#toWrite ? this.#acknowledge(line + 1, false) : 0;
    if (this.#settling || this.inFlight === 0) return 0;
    return this.#acknowledge(this.#acknowledged + 1, false);
  }

  /**
   * The firmware asks for a line and all after it. Nothing is written until `settled`.
   * @returns the number of commands of the design that it has received before
   * @throws {MillraceError} E_MACHINE if the line is not kept any more, or the errors do not end
   */
  resend(number: number): number {
    const oldest = this.#lines[0]?.number ?? this.#next;
    if (number > this.#written || number < oldest)
      throw new MillraceError(
        'E_MACHINE',
        'the controller asked for a line that was never sent or is long executed: it was probably reset',
      );
    this.#resends += 1;
    if (this.#resends > MAX_RESENDS)
      throw new MillraceError('E_MACHINE', 'the connection to the controller is too bad: lines arrive damaged');
    this.#settling = true;
    this.#careful = number;
    const taken = this.#acknowledge(number, true);
    this.#toWrite = number;
    return taken;
  }

  /** No more answers to damaged lines are expected. */
  settled(): void {
    this.#settling = false;
  }

  /** Forgets all lines. The next line has number 1. */
  reset(): void {
    for (const { bytes } of this.#lines) bytes.fill(0);
    this.#lines.length = 0;
    this.#next = this.#toWrite = this.#written = this.#acknowledged = this.#taken = 1;
    this.#settling = false;
    this.#careful = 0;
    this.#resends = 0;
  }

  #fits(length: number): boolean {
    if (this.#settling) return false;
    const { inFlight } = this;
    if (inFlight === 0) return true;
    if (this.#acknowledged <= this.#careful) return false;
    if (inFlight >= this.#slots) return false;
    let bytes = length;
    for (let number = this.#acknowledged; number < this.#toWrite; number += 1)
      bytes += this.#line(number)?.bytes.length ?? 0;
    return bytes <= this.#options.bytes;
  }

  /** @param exactly also moves the window back, if an extra `ok` had moved it too far */
  #acknowledge(below: number, exactly: boolean): number {
    if (below > this.#acknowledged || exactly) this.#acknowledged = below;
    let taken = 0;
    while (this.#taken < below) {
      if (this.#line(this.#taken)?.counts) taken += 1;
      this.#taken += 1;
      if (this.#taken > this.#careful) this.#resends = 0;
    }
    while ((this.#lines[0]?.number ?? this.#next) < this.#taken - HISTORY) this.#lines.shift()?.bytes.fill(0);
    return taken;
  }

  #line(number: number): Line | undefined {
    const first = this.#lines[0]?.number;
    return first === undefined ? undefined : this.#lines[number - first];
  }
}
