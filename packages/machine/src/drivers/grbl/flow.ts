interface Sent {
  readonly bytes: number;
  /** A command of the design; the others are the driver's own. */
  readonly counts: boolean;
  /** Nothing may be sent before it is answered. */
  readonly alone: boolean;
}

/** A controller that reports less or more than firmware has is not believed: its buffer bounds what is in flight. */
const MIN_RX_BYTES = 32;
const MAX_RX_BYTES = 4_096;

/**
 * Character counting: each line is answered once, in order, when Grbl has taken it out of its receive buffer. So the
 * bytes of the unanswered lines are all that can be in it.
 */
export class GrblFlow {
  readonly #sent: Sent[] = [];
  #bytes = 0;
  #rxBytes = 128;

  /** Size of the receive buffer, as the controller reports it. Grbl counts one byte less as usable. */
  set rxBytes(reported: number) {
    this.#rxBytes = Math.min(Math.max(MIN_RX_BYTES, reported), MAX_RX_BYTES);
  }

  get unanswered(): number {
    return this.#sent.length;
  }

  /** Bytes that may be in Grbl's buffer. */
  get bytes(): number {
    return this.#bytes;
  }

  /** @param length of the line, with its line end */
  hasRoom(length: number, alone: boolean): boolean {
    if (this.#sent.length === 0) return true;
    if (alone || this.#sent.at(-1)?.alone) return false;
    return this.#bytes + length < this.#rxBytes;
  }

  sent(bytes: number, facts: { readonly counts: boolean; readonly alone: boolean }): void {
    this.#sent.push({ bytes, ...facts });
    this.#bytes += bytes;
  }

  /** The oldest line was answered. @returns whether it is of the design; undefined if none was open */
  answered(): boolean | undefined {
    const oldest = this.#sent.shift();
    if (oldest === undefined) return undefined;
    this.#bytes -= oldest.bytes;
    return oldest.counts;
  }

  reset(): void {
    this.#sent.length = 0;
    this.#bytes = 0;
  }
}
