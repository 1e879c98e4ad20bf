import { type Bytes, concatBytes, MillraceError, u32be } from '@millrace/base';

/** Maximum message: fits a frame of the largest cell with 100 percent chaff. */
export const MAX_MESSAGE_BYTES = 1 << 18;

/** Encodes a message for TCP: its length (u32be), then its bytes. */
export function withLength(message: Uint8Array): Bytes {
  return concatBytes(u32be(message.length), message);
}

/** Reassembles the messages of a connection from pieces of any size. */
export class MessageJoiner {
  #pieces: Uint8Array[] = [];
  #held = 0;

  /** Whether a message is incomplete. */
  get inMessage(): boolean {
    return this.#held > 0;
  }

  /** @throws {MillraceError} E_FRAME_FORMAT if a message is empty or too long */
  push(piece: Uint8Array): Bytes[] {
    this.#pieces.push(piece);
    this.#held += piece.length;
    const messages: Bytes[] = [];
    for (let length = this.#nextLength(); length !== undefined; length = this.#nextLength()) {
      if (this.#held < 4 + length) break;
      const all = concatBytes(...this.#pieces);
      messages.push(all.slice(4, 4 + length));
      this.#pieces = [all.subarray(4 + length)];
      this.#held -= 4 + length;
    }
    return messages;
  }

  #nextLength(): number | undefined {
    if (this.#held < 4) return undefined;
    let first = this.#pieces[0];
    if (first === undefined || first.length < 4) {
      first = concatBytes(...this.#pieces);
      this.#pieces = [first];
    }
    const length = new DataView(first.buffer, first.byteOffset, first.byteLength).getUint32(0);
    if (length === 0 || length > MAX_MESSAGE_BYTES) {
      throw new MillraceError('E_FRAME_FORMAT', 'the other end does not speak this protocol');
    }
    return length;
  }
}
