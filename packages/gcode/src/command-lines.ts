const NEWLINE = 10;
const SPACE = 32;
const SEMICOLON = 59;
const OPEN = 40;
const CLOSE = 41;
const STAR = 42;
const PERCENT = 37;
const N = 78;
const M = 77;

const isBlank = (byte: number): boolean => byte === SPACE || byte === 9 || byte === 13;
const isDigit = (byte: number): boolean => byte >= 48 && byte <= 57;

/**
 * Turns the bytes of a design into what a controller has to see of each line: no comments, no blanks around it, no line
 * number and checksum of its own, no program mark. Text of messages (M117, M118, M0, M1) is left alone.
 */
export class CommandLines {
  readonly #line: Uint8Array;
  #length = 0;
  #comment = false;
  #depth = false;
  #tooLong = false;

  /** @param memory for one line; wiped by `clear` */
  constructor(memory: Uint8Array) {
    this.#line = memory;
  }

  /** Adds bytes of one line, which may be split anywhere. */
  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += 1) {
      const byte = bytes[at] as number;
      if (byte === NEWLINE || this.#comment) continue;
      if (this.#depth) {
        if (byte === CLOSE) this.#depth = false;
      } else if (byte === SEMICOLON) {
        this.#comment = true;
      } else if (byte === OPEN && !this.#isText()) {
        this.#depth = true;
      } else if (this.#length === this.#line.length) {
        this.#tooLong ||= !isBlank(byte);
      } else if (this.#length > 0 || !isBlank(byte)) {
        this.#line[this.#length++] = byte;
      }
    }
  }

  /**
   * Ends the line. @returns the command, valid until the next call; empty if there is none; undefined if it is longer
   * than the memory
   */
  end(): Uint8Array | undefined {
    if (this.#tooLong) return undefined;
    let from = 0;
    let to = this.#length;
    const line = this.#line;
    if (line[0] === PERCENT) return line.subarray(0, 0);
    if ((line[0] ?? 0) === N || line[0] === N + 32) {
      from = 1;
      while (from < to && (isDigit(line[from] as number) || isBlank(line[from] as number))) from += 1;
      const star = line.subarray(0, to).lastIndexOf(STAR);
      if (star >= 0) to = star;
    }
    while (to > from && isBlank(line[to - 1] as number)) to -= 1;
    return line.subarray(from, to);
  }

  clear(): void {
    this.#line.fill(0, 0, this.#length);
    this.#length = 0;
    this.#comment = false;
    this.#depth = false;
    this.#tooLong = false;
  }

  #isText(): boolean {
    const line = this.#line.subarray(0, this.#length);
    if (line.length < 2 || ((line[0] as number) & 0xdf) !== M) return false;
    let code = 0;
    for (let at = 1; at < line.length && isDigit(line[at] as number); at += 1) code = code * 10 + (line[at] ?? 0) - 48;
    return code <= 1 || code === 117 || code === 118;
  }
}
