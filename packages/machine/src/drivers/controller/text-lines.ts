/** Longest line of a controller that is read; the rest of a longer line is dropped. */
export const MAX_LINE = 1_024;

/** Cuts what a controller sends into lines. Bytes that are not printable ASCII are dropped: noise, telnet commands. */
export class TextLines {
  readonly #onLine: (line: string) => void;
  #line = '';
  /** Number of bytes dropped. */
  garbage = 0;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  add(bytes: Uint8Array): void {
    for (const byte of bytes) {
      if (byte === 10 || byte === 13) {
        const line = this.#line.trim();
        this.#line = '';
        if (line !== '') this.#onLine(line);
      } else if (byte < 32 || byte > 126) {
        this.garbage += 1;
      } else if (this.#line.length < MAX_LINE) {
        this.#line += String.fromCharCode(byte);
      }
    }
  }
}
