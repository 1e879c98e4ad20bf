import { type Bytes, concatBytes, MillraceError, u32be } from '@millrace/base';

/** Longest message: a frame of the longest cell with as much chaff fits. */
export const MAX_MESSAGE_BYTES = 1 << 18;

/** A message as it goes over TCP: its length in front, u32be. */
export function withLength(message: Uint8Array): Bytes {
  return concatBytes(u32be(message.length), message);
}

/** Puts the messages of a connection together again from whatever pieces come. */
export class MessageJoiner {
  #pieces: Uint8Array[] = [];
  #held = 0;

  /** True when a message has begun and not ended. */
  get inMessage(): boolean {
    return this.#held > 0;
  }

  /** @throws {MillraceError} E_FRAME_FORMAT when a message is empty or too long */
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
