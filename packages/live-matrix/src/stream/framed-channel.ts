import { type Bytes, concatBytes, MillraceError, Mutex } from '@millrace/base/core';
import { type Aead, createAead } from './aead.ts';
import type { LiveChannel } from './channel.ts';
import { decodeNote, encodeNote, type Note } from './notes.ts';

const FRAME = 3;
const NOTE = 4;
/** Time limit for the last messages if the channel is blocked. A busy computer needs some time. */
const PARTING_MS = 5_000;
/** Longer limit for the receiver's last message: without that message the sender reports arrived data as lost. */
const DONE_MS = 60_000;

export interface ChannelEvents {
  onFrame(frame: Uint8Array): void;
  onNote(note: Note): Promise<void> | void;
}

/** One end of the channel: messages with a type byte. Notes are sealed and in order. */
export class FramedChannel {
  /** Bytes of all messages that were sent and received. */
  sent = 0;
  received = 0;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #notes = new Mutex();
  #out: { readonly aead: Aead; number: number } | undefined;
  #in: { readonly aead: Aead; number: number } | undefined;
  /** Aborted when no further message can arrive. */
  readonly #silent = new AbortController();
  #closed = false;

  constructor({ readable, writable }: LiveChannel) {
    this.#reader = readable.getReader();
    this.#writer = writable.getWriter();
    this.#writer.closed.catch(() => undefined); // reported by the write that fails
  }

  /** @param out key for sent notes, @param back key for received notes; both are wiped */
  async secure(out: Bytes, back: Bytes): Promise<void> {
    this.#out = { aead: await createAead(out), number: 0 };
    this.#in = { aead: await createAead(back), number: 0 };
  }

  /** The next message. @throws {MillraceError} E_STREAM_CUT at the channel's end */
  async next(): Promise<Uint8Array> {
    const { value } = await this.#reader.read().catch((cause: unknown) => {
      throw cut(cause);
    });
    if (value === undefined) throw cut();
    if (!(value instanceof Uint8Array)) {
      throw new MillraceError('E_FRAME_FORMAT', 'the channel delivered something other than bytes');
    }
    this.received += value.length;
    return value;
  }

  /** Dispatches received messages. Always ends with an error: the other end's last message is a note. */
  async run(events: ChannelEvents): Promise<never> {
    for (;;) {
      const message = await this.next().catch((error: unknown) => {
        this.#silent.abort();
        throw error;
      });
      const body = message.subarray(1);
      if (message[0] === FRAME) events.onFrame(body);
      else if (message[0] === NOTE && this.#in !== undefined) {
        await events.onNote(decodeNote(await this.#in.aead.open(this.#in.number++, body)));
      } else throw new MillraceError('E_FRAME_FORMAT', 'a message of an unknown type was received');
    }
  }

  /** Waits until the channel accepts more. @throws {MillraceError} E_STREAM_CUT */
  async ready(): Promise<void> {
    await this.#writer.ready.catch((cause: unknown) => {
      throw cut(cause);
    });
  }

  /** @throws {MillraceError} E_STREAM_CUT */
  async post(message: Uint8Array): Promise<void> {
    this.sent += message.length;
    await this.#writer.write(message).catch(async (cause: unknown) => {
      // The other end's reason may still be in transit.
      await pause(PARTING_MS, this.#silent.signal);
      throw cut(cause);
    });
  }

  postFrame(frame: Uint8Array): Promise<void> {
    return this.post(concatBytes(new Uint8Array([FRAME]), frame));
  }

  /** @throws {MillraceError} E_STREAM_CUT */
  note(note: Note): Promise<void> {
    return this.#notes.run(async () => {
      const out = this.#out;
      if (out === undefined) return;
      await this.ready();
      const sealed = await out.aead.seal(out.number++, encodeNote(note));
      await this.post(concatBytes(new Uint8Array([NOTE]), sealed));
    });
  }

  /** Sends the last note and closes. Never throws, and waits only for a limited time. */
  async close(last?: Note): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const parting = (async () => {
      if (last !== undefined) await this.note(last);
      await this.#writer.close();
    })().catch(() => undefined);
    const late = new AbortController();
    await Promise.race([parting, pause(last?.kind === 'done' ? DONE_MS : PARTING_MS, late.signal)]);
    // Keep reading, so that the other end can read our last note.
    await Promise.race([this.#drain(), pause(PARTING_MS, late.signal)]);
    late.abort();
    void this.#writer.abort().catch(() => undefined); // no effect if already closed
    void this.#reader.cancel().catch(() => undefined);
  }

  async #drain(): Promise<void> {
    try {
      while (!(await this.#reader.read()).done);
    } catch {
      // the channel has ended
    }
  }
}

/** Waits for `milliseconds`, or until the signal aborts. */
function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}

function cut(cause?: unknown): MillraceError {
  if (cause instanceof MillraceError) return cause;
  return new MillraceError('E_STREAM_CUT', 'the connection was lost before the end of the stream', {
    ...(cause === undefined ? {} : { cause }),
  });
}

/** The frame's number, unauthenticated. The frame must have a complete header. */
export function claimedNumber(frame: Uint8Array): number {
  return new DataView(frame.buffer, frame.byteOffset, frame.byteLength).getUint32(30);
}
