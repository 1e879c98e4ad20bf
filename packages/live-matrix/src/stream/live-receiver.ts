import { Condition, concatBytes, MillraceError, toMillraceError, wipe } from '@millrace/base/core';
import { claimedRevision } from '../frame/header.ts';
import type { Receiver } from '../frame-receiver.ts';
import type { TableOrder } from '../parameters.ts';
import { type Aead, createAead } from './aead.ts';
import { freshPoint } from './agreement.ts';
import { type CellContent, readCell } from './cells.ts';
import type { LiveChannel } from './channel.ts';
import { Ending, type LiveSummary, stoppedHere } from './ending.ts';
import { Follower } from './follower.ts';
import { claimedNumber, FramedChannel } from './framed-channel.ts';
import { deriveLiveKeys, MIN_SECRET_BYTES } from './keys.ts';
import type { LiveSession } from './live-sender.ts';
import { Mixes } from './mixes.ts';
import type { Note } from './notes.ts';
import { decodeHello, encodeAnswer, type Hello } from './opening.ts';

export interface LiveReceiverOptions {
  readonly channel: LiveChannel;
  /** Secret shared by both ends: at least 32 uniform bytes. Copied. */
  readonly secret: Uint8Array;
  /** Accepted orders. Order 24 needs about 140 MB. Default: both. */
  readonly orders?: readonly TableOrder[];
  /** Runs after the reader has taken everything. The sender's `closed` waits for it, and rejects if it fails. */
  readonly confirm?: () => Promise<void>;
  /** Aborting ends the stream for both ends. */
  readonly signal?: AbortSignal;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

export interface LiveReceiver {
  /**
   * The data. Closes only after the proven end of the stream. Otherwise errors with a MillraceError: E_STREAM_AUTH,
   * E_STREAM_CUT, E_STREAM_STOPPED, E_FRAME_*, E_SEAL.
   */
  readonly readable: ReadableStream<Uint8Array>;
  /** Resolves when all data was read and confirmed. Rejects like `readable`, after the other end was notified. */
  readonly closed: Promise<LiveSummary>;
}

/**
 * Receives a live stream.
 * @param createReceiver creates a receiver of frames with an engine of the platform
 * @throws {MillraceError} E_INPUT
 */
export function makeLiveReceiver(
  options: LiveReceiverOptions,
  createReceiver: (session: LiveSession) => Promise<Receiver>,
): LiveReceiver {
  if (options.secret.length < MIN_SECRET_BYTES) {
    throw new MillraceError('E_INPUT', `the secret of a live stream has ${MIN_SECRET_BYTES} bytes or more`);
  }
  const stream = new LiveReceiving({ ...options, secret: new Uint8Array(options.secret) }, createReceiver);
  const readable = new ReadableStream<Uint8Array>(
    {
      start: (controller) => stream.open((error) => controller.error(error)),
      pull: (controller) => stream.pull(controller),
      cancel: (cause) => stream.fail(stoppedHere(cause)),
    },
    // Do not read ahead: data that is read is acknowledged.
    { highWaterMark: 0 },
  );
  return { readable, closed: stream.closed };
}

class LiveReceiving {
  readonly #options: LiveReceiverOptions;
  readonly #createReceiver: (session: LiveSession) => Promise<Receiver>;
  readonly #channel: FramedChannel;
  readonly #now: () => number;
  /** Notified when a cell can be read or there is something to report. */
  readonly #condition = new Condition();
  readonly #cells = new Map<number, CellContent>();
  #resend: number[] = [];
  #decoding = 0;
  /** Number of the next frame that was not sent before. */
  #expected = 0;
  #taken = 0;
  #total = 0n;
  #tableMs = 0;
  #dirty = true;
  /** Whether the end was read. Later messages are ignored. */
  #ended = false;
  #error: MillraceError | undefined;
  #hello: Hello | undefined;
  #receiver: Receiver | undefined;
  #aead: Aead | undefined;
  #mixes: Mixes | undefined;
  #follower: Follower | undefined;
  readonly #ending: Ending;
  #tellReader: (error: unknown) => void = () => undefined;

  constructor(options: LiveReceiverOptions, createReceiver: (session: LiveSession) => Promise<Receiver>) {
    this.#options = options;
    this.#createReceiver = createReceiver;
    this.#channel = new FramedChannel(options.channel);
    this.#now = options.now ?? (() => performance.now());
    this.#ending = new Ending(options.signal, (error) => this.fail(error));
  }

  get closed(): Promise<LiveSummary> {
    return this.#ending.closed;
  }

  async open(tellReader: (error: unknown) => void): Promise<void> {
    this.#tellReader = tellReader;
    this.#ending.listen();
    try {
      await this.#agree();
    } catch (error) {
      this.fail(error);
      throw error;
    }
    if (this.#error !== undefined) {
      void this.#receiver?.close();
      throw this.#error;
    }
    const onFailed = (error: unknown) => this.fail(error);
    this.#channel
      .run({ onFrame: (frame) => this.#onFrame(frame), onNote: (note) => this.#onNote(note) })
      .catch(onFailed);
    this.#report().catch(onFailed);
  }

  async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    for (;;) {
      if (this.#error !== undefined) return;
      const cell = this.#cells.get(this.#taken);
      if (cell === undefined) {
        await this.#condition.wait();
        continue;
      }
      this.#cells.delete(this.#taken++);
      this.#receiver?.forget(this.#taken);
      if (cell.kind === 'data') {
        this.#total += BigInt(cell.data.length);
        controller.enqueue(cell.data);
        this.#changed();
      } else if (cell.total !== this.#total) {
        this.fail(new MillraceError('E_FRAME_FORMAT', 'the length of the stream does not match its end'));
      } else {
        this.#ended = true;
        controller.close();
        void this.#conclude();
      }
      return;
    }
  }

  fail(cause: unknown): void {
    if (this.#error !== undefined || this.#ended) return;
    this.#stop(toMillraceError(cause));
  }

  async #agree(): Promise<void> {
    const { secret, orders } = this.#options;
    const message = new Uint8Array(await this.#channel.next());
    const hello = decodeHello(message, secret);
    const { parameters } = hello;
    if (orders !== undefined && !orders.some((order) => order === parameters.order)) {
      throw new MillraceError('E_FRAME_FORMAT', `a stream of order ${parameters.order} is not accepted here`);
    }
    const own = await freshPoint();
    const shared = await own.agree(hello.point);
    const answer = encodeAnswer(own.point, message, secret);
    const keys = deriveLiveKeys(secret, shared, concatBytes(message, answer));
    wipe(shared, secret);
    await this.#channel.secure(keys.fromReceiver, keys.fromSender);
    await this.#channel.post(answer);
    this.#hello = hello;
    this.#aead = await createAead(keys.cells);
    const mixes = new Mixes(keys.sessionId);
    const began = this.#now();
    const receiver = await this.#createReceiver({ parameters, sessionId: keys.sessionId, seed: keys.seed });
    wipe(keys.seed);
    this.#tableMs = this.#now() - began;
    this.#receiver = receiver;
    this.#mixes = mixes;
    this.#follower = new Follower({
      receiver,
      mixes,
      now: this.#now,
      onReady: (tableMs) => this.#onReady(tableMs),
      onFailed: (error) => this.fail(error),
    });
  }

  #onFrame(frame: Uint8Array): void {
    if (this.#error !== undefined || this.#ended) return;
    const window = this.#hello?.window ?? 0;
    const revision = claimedRevision(frame);
    const number = claimedNumber(frame);
    // The channel preserves order: a number higher than the next means that a frame was removed.
    if (number > this.#expected || this.#decoding + this.#cells.size >= window) throw outside();
    if (number === this.#expected) this.#expected++;
    void this.#decode(frame, revision, window);
  }

  async #decode(frame: Uint8Array, claimed: bigint, window: number): Promise<void> {
    let genuine = false;
    this.#decoding++;
    this.#follower?.arrived(claimed);
    try {
      const decoded = await this.#receiver?.decode(frame);
      genuine = true;
      if (decoded === undefined || this.#error !== undefined) return;
      const { frame: number, cell } = decoded;
      if (number >= this.#taken + window || cell.length > (this.#hello?.cellBytes ?? 0)) throw outside();
      const plain = await this.#aead?.open(number, cell);
      if (plain === undefined) return;
      this.#cells.set(number, readCell(plain));
      this.#condition.notify();
    } catch (error) {
      // The MAC is checked before solving, so the number of an unsolved frame is authentic.
      genuine = error instanceof MillraceError && error.code === 'E_FRAME_UNSOLVED';
      if (!genuine) return this.fail(error);
      this.#resend.push(claimedNumber(frame));
      this.#changed();
    } finally {
      this.#decoding--;
      this.#follower?.settled(claimed, genuine);
    }
  }

  async #onNote(note: Note): Promise<void> {
    if (note.kind === 'stop' && !this.#ended) {
      throw new MillraceError('E_STREAM_STOPPED', 'the sender stopped the stream');
    }
    if (note.kind !== 'point' || (await this.#mixes?.answered(note.revision, note.point)) !== true) throw outside();
    this.#follower?.advance();
  }

  #onReady(tableMs: number): void {
    this.#tableMs = tableMs;
    this.#changed();
    const due = this.#mixes?.due(this.#receiver?.ready ?? 0n);
    if (due !== undefined) this.#ask(due).catch((error) => this.fail(error));
  }

  async #ask(revision: bigint): Promise<void> {
    const point = await this.#mixes?.ask(revision);
    if (point !== undefined) await this.#channel.note({ kind: 'point', revision, point });
  }

  #changed(): void {
    this.#dirty = true;
    this.#condition.notify();
  }

  /** Reports the state as often as the channel accepts it. Changes in the meantime go into the next note. */
  async #report(): Promise<void> {
    while (this.#error === undefined && !this.#ended) {
      if (!this.#dirty) {
        await this.#condition.wait();
        continue;
      }
      this.#dirty = false;
      const resend = this.#resend.splice(0);
      const tableMs = Math.min(Math.round(this.#tableMs), 2 ** 32 - 1);
      const ready = this.#receiver?.ready ?? 0n;
      await this.#channel.note({ kind: 'state', ready, taken: this.#taken, tableMs, resend });
    }
  }

  /** Ends the stream after everything has been taken. */
  async #conclude(): Promise<void> {
    try {
      await this.#options.confirm?.();
    } catch (error) {
      return this.#stop(toMillraceError(error));
    }
    const revision = this.#receiver?.ready ?? 0n;
    // Send this first: the data is stored, even if releasing the tables fails.
    await this.#channel.close({ kind: 'done', total: this.#total });
    const wireBytes = this.#channel.sent + this.#channel.received;
    const summary: LiveSummary = { bytes: this.#total, frames: this.#taken, revision, wireBytes };
    this.#release().then(
      () => this.#ending.resolve(summary),
      (error) => this.#ending.reject(error),
    );
  }

  #stop(error: MillraceError): void {
    this.#error = error;
    this.#tellReader(error);
    this.#condition.notify();
    const released = this.#release().catch(() => undefined); // only the first error is reported
    void Promise.all([this.#channel.close({ kind: 'stop' }), released]).then(() => this.#ending.reject(error));
  }

  async #release(): Promise<void> {
    this.#ending.release();
    wipe(this.#options.secret);
    for (const cell of this.#cells.values()) if (cell.kind === 'data') wipe(cell.data);
    this.#cells.clear();
    this.#follower?.close();
    this.#mixes?.close();
    await this.#receiver?.close();
  }
}

function outside(): MillraceError {
  return new MillraceError('E_FRAME_FORMAT', 'the sender sent a message outside of the window or of the agreed format');
}
