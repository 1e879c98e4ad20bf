import { type Bytes, MillraceError } from '@millrace/base';
import type { LiveChannel } from '@millrace/live-matrix';

/** Maximum message during the handshake, bytes. */
const MAX_HANDSHAKE_BYTES = 2_048;
const REFUSED = 0;

/** The first messages of a connection, one at a time. `release` passes the channel to the stream. */
export class HandshakeChannel {
  readonly #channel: LiveChannel;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #received = false;

  constructor(channel: LiveChannel) {
    this.#channel = channel;
    this.#reader = channel.readable.getReader();
    this.#writer = channel.writable.getWriter();
    this.#reader.closed.catch(() => undefined);
    this.#writer.closed.catch(() => undefined);
  }

  /** Whether a message was received. */
  get received(): boolean {
    return this.#received;
  }

  /** @throws {MillraceError} E_STREAM_AUTH if the other end refused, E_STREAM_CUT, E_FRAME_FORMAT */
  async receive(): Promise<Bytes> {
    const { value } = await this.#reader.read();
    if (value === undefined) throw new MillraceError('E_STREAM_CUT', 'the other end closed the connection');
    if (value.length > MAX_HANDSHAKE_BYTES) throw notUnderstood();
    this.#received = true;
    if (value.length === 1 && value[0] === REFUSED) throw new MillraceError('E_STREAM_AUTH', 'the other end refused');
    return new Uint8Array(value);
  }

  async send(message: Uint8Array): Promise<void> {
    await this.#writer.write(message);
  }

  /** Ends the handshake and returns the channel for the stream. */
  release(): LiveChannel {
    this.#reader.releaseLock();
    this.#writer.releaseLock();
    return this.#channel;
  }

  /** Sends a refusal and closes the connection. */
  async refuse(): Promise<void> {
    try {
      await this.send(new Uint8Array([REFUSED]));
      await this.#writer.close();
    } catch {
      // the connection is already closed
    }
  }

  async end(): Promise<void> {
    await this.#writer.abort().catch(() => undefined);
    await this.#reader.cancel().catch(() => undefined);
  }
}

export function notUnderstood(): MillraceError {
  return new MillraceError('E_FRAME_FORMAT', 'the other end does not speak this protocol');
}
