import { type Bytes, Condition, concatBytes, MillraceError, toMillraceError, wipe } from '@millrace/base/core';
import type { Sender } from '../frame-sender.ts';
import { completeParameters, type MatrixParameters } from '../parameters.ts';
import { type Aead, createAead } from './aead.ts';
import { freshPoint } from './agreement.ts';
import { cellCapacity, DEFAULT_CELL_BYTES, layData, layEnd, requireCellBytes } from './cells.ts';
import type { LiveChannel } from './channel.ts';
import { Ending, type LiveSummary, stoppedHere } from './ending.ts';
import { FramedChannel } from './framed-channel.ts';
import { deriveLiveKeys, MIN_SECRET_BYTES } from './keys.ts';
import { Mixes } from './mixes.ts';
import type { Note } from './notes.ts';
import { decodeAnswer, encodeHello, requireWindow } from './opening.ts';

export const DEFAULT_PARAMETERS: MatrixParameters = { suite: 'turboshake128', order: 16, hints: 'dense' };
const DEFAULT_WINDOW = 32;
const DEFAULT_FLUSH_MS = 50;
/**
 * Ratio of a revision's length to the time of the receiver's last table: tables then take at most a tenth of its time.
 */
const TABLE_SHARE = 10;
const MIN_REVISION_MS = 100;
const MAX_CELLS = 2 ** 32;

/** Parameters that both ends agreed on in the opening. */
export interface LiveSession {
  readonly parameters: MatrixParameters;
  readonly sessionId: Uint8Array;
  readonly seed: Uint8Array;
}

export interface LiveSenderOptions {
  readonly channel: LiveChannel;
  /** Secret shared by both ends: at least 32 uniform bytes. Copied. May be used for any number of streams. */
  readonly secret: Uint8Array;
  readonly parameters?: MatrixParameters;
  /** Length of a full cell, bytes: a multiple of 6 up to 65,538. Default 16,386. */
  readonly cellBytes?: number;
  /** Maximum number of cells ahead of the receiver's reader, which both ends hold. 2 to 256, default 32. */
  readonly window?: number;
  /** Minimum length of a revision, ms. Default: ten times the time of the receiver's last table, at least 100. */
  readonly revisionMs?: number;
  /** A partly filled cell is sent after this time, ms. Default 50. */
  readonly flushMs?: number;
  /** Aborting ends the stream for both ends. */
  readonly signal?: AbortSignal;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

export interface LiveSender {
  /** The data to send. Backpressure comes from the receiver's reader. */
  readonly writable: WritableStream<Uint8Array>;
  /**
   * Resolves when the receiver has confirmed all data. Rejects, after the other end was notified, with a MillraceError:
   * E_STREAM_AUTH, E_STREAM_CUT, E_STREAM_STOPPED, E_FRAME_FORMAT, E_SEAL.
   */
  readonly closed: Promise<LiveSummary>;
}

/**
 * Sends any data as a live stream.
 * @param createSender creates a sender of frames with an engine of the platform
 * @throws {MillraceError} E_INPUT
 */
export function makeLiveSender(
  options: LiveSenderOptions,
  createSender: (session: LiveSession) => Promise<Sender> | Sender,
): LiveSender {
  const { cellBytes = DEFAULT_CELL_BYTES, window = DEFAULT_WINDOW, secret } = options;
  completeParameters(options.parameters ?? DEFAULT_PARAMETERS);
  requireCellBytes(cellBytes);
  requireWindow(window);
  if (secret.length < MIN_SECRET_BYTES) {
    throw new MillraceError('E_INPUT', `the secret of a live stream has ${MIN_SECRET_BYTES} bytes or more`);
  }
  const stream = new LiveSending({ ...options, cellBytes, window, secret: new Uint8Array(secret) }, createSender);
  const writable = new WritableStream<Uint8Array>({
    start: (controller) => stream.open((error) => controller.error(error)),
    write: (chunk) => stream.write(chunk),
    close: () => stream.finish(),
    abort: (cause) => stream.fail(stoppedHere(cause)),
  });
  return { writable, closed: stream.closed };
}

interface Slot {
  /** Sealed cell; undefined while it is being sealed. */
  body: Bytes | undefined;
  /** Revision in which it was last sent. */
  sent: bigint | undefined;
}

class LiveSending {
  readonly #options: LiveSenderOptions & { cellBytes: number; window: number; secret: Bytes };
  readonly #createSender: (session: LiveSession) => Promise<Sender> | Sender;
  readonly #channel: FramedChannel;
  readonly #condition = new Condition();
  readonly #now: () => number;
  /** Cells that the receiver's reader has not taken, by number. */
  readonly #slots = new Map<number, Slot>();
  /** Numbers to send again, with the revision in which they were not solved. */
  readonly #again = new Map<number, bigint>();
  readonly #partial: Bytes;
  #filled = 0;
  #flush: ReturnType<typeof setTimeout> | undefined;
  #flushDue = false;
  #next = 0;
  #nextToSend = 0;
  #taken = 0;
  #total = 0n;
  #ready = -1n;
  #tableMs = 0;
  #revisionSince = 0;
  #sender: Sender | undefined;
  #cells: Aead | undefined;
  #mixes: Mixes | undefined;
  /** Whether the end cell was created. */
  #whole = false;
  #done = false;
  #error: MillraceError | undefined;
  readonly #ending: Ending;
  #tellWriter: (error: unknown) => void = () => undefined;

  constructor(
    options: LiveSenderOptions & { cellBytes: number; window: number; secret: Bytes },
    createSender: (session: LiveSession) => Promise<Sender> | Sender,
  ) {
    this.#options = options;
    this.#createSender = createSender;
    this.#channel = new FramedChannel(options.channel);
    this.#now = options.now ?? (() => performance.now());
    this.#partial = new Uint8Array(cellCapacity(options.cellBytes));
    this.#ending = new Ending(options.signal, (error) => this.fail(error));
  }

  get closed(): Promise<LiveSummary> {
    return this.#ending.closed;
  }

  async open(tellWriter: (error: unknown) => void): Promise<void> {
    this.#tellWriter = tellWriter;
    this.#ending.listen();
    try {
      await this.#agree();
    } catch (error) {
      this.fail(error);
      throw error;
    }
    if (this.#error !== undefined) {
      this.#sender?.close();
      throw this.#error;
    }
    const onFailed = (error: unknown) => this.fail(error);
    this.#channel.run({ onFrame: () => onFailed(unexpected()), onNote: (note) => this.#onNote(note) }).catch(onFailed);
    this.#pump().catch(onFailed);
  }

  /** Resolves when the chunk has been copied into cells, that is, when the window has room for it. */
  async write(chunk: Uint8Array): Promise<void> {
    if (!(chunk instanceof Uint8Array)) {
      const error = new MillraceError('E_INPUT', 'a live stream takes bytes (Uint8Array)');
      this.fail(error);
      throw error;
    }
    for (let at = 0; at < chunk.length; ) {
      await this.#windowOpen();
      const piece = chunk.subarray(at, at + this.#partial.length - this.#filled);
      this.#partial.set(piece, this.#filled);
      this.#filled += piece.length;
      at += piece.length;
      if (this.#filled === this.#partial.length) this.#cutData();
      else this.#flush ??= setTimeout(() => this.#onFlush(), this.#options.flushMs ?? DEFAULT_FLUSH_MS);
    }
  }

  async finish(): Promise<void> {
    await this.#windowOpen();
    this.#cutData();
    await this.#windowOpen();
    this.#cut(layEnd(this.#options.cellBytes, this.#total));
    this.#whole = true;
    await this.#until(() => this.#done);
    const summary: LiveSummary = {
      bytes: this.#total,
      frames: this.#next,
      revision: this.#sender?.revision ?? 0n,
      wireBytes: this.#channel.sent + this.#channel.received,
    };
    this.#release();
    await this.#channel.close();
    this.#ending.resolve(summary);
  }

  fail(cause: unknown): void {
    if (this.#error !== undefined || this.#done) return;
    const error = toMillraceError(cause);
    this.#error = error;
    this.#release();
    this.#condition.notify();
    this.#tellWriter(error);
    void this.#channel.close({ kind: 'stop' }).then(() => this.#ending.reject(error));
  }

  async #agree(): Promise<void> {
    const { secret, cellBytes, window, parameters = DEFAULT_PARAMETERS } = this.#options;
    const own = await freshPoint();
    const hello = encodeHello({ parameters, cellBytes, window, point: own.point }, secret);
    await this.#channel.post(hello);
    const answer = await this.#channel.next();
    const shared = await own.agree(decodeAnswer(answer, hello, secret));
    const keys = deriveLiveKeys(secret, shared, concatBytes(hello, answer));
    wipe(shared, secret);
    await this.#channel.secure(keys.fromSender, keys.fromReceiver);
    this.#cells = await createAead(keys.cells);
    this.#mixes = new Mixes(keys.sessionId);
    this.#sender = await this.#createSender({ parameters, sessionId: keys.sessionId, seed: keys.seed });
    wipe(keys.seed);
    this.#revisionSince = this.#now();
  }

  async #onNote(note: Note): Promise<void> {
    if (this.#error !== undefined || this.#done) return;
    switch (note.kind) {
      case 'state':
        if (note.taken > this.#nextToSend || note.taken < this.#taken) throw unexpected();
        for (; this.#taken < note.taken; this.#taken++) {
          this.#slots.delete(this.#taken);
          this.#again.delete(this.#taken);
        }
        this.#ready = note.ready;
        this.#tableMs = note.tableMs;
        for (const number of note.resend) this.#askAgain(number);
        if (this.#flushDue) this.#onFlush();
        break;
      case 'point': {
        const point = await this.#mixes?.answer(note.revision, note.point);
        if (point !== undefined) await this.#channel.note({ kind: 'point', revision: note.revision, point });
        break;
      }
      case 'done':
        if (!this.#whole || note.total !== this.#total || this.#nextToSend < this.#next) throw unexpected();
        this.#done = true;
        break;
      case 'stop':
        throw new MillraceError('E_STREAM_STOPPED', 'the receiver stopped the stream');
    }
    this.#condition.notify();
  }

  #askAgain(number: number): void {
    const sent = this.#slots.get(number)?.sent;
    if (sent === undefined) throw unexpected();
    // A frame number is used once in a revision: send the cell again in a later one.
    this.#again.set(number, sent);
  }

  async #pump(): Promise<void> {
    while (this.#error === undefined && !this.#done) {
      if (this.#due() === undefined) {
        await this.#condition.wait();
        continue;
      }
      await this.#channel.ready();
      const [number, body] = this.#due() ?? [];
      if (number === undefined || body === undefined || this.#sender === undefined) continue;
      const frame = this.#sender.encode(number, body);
      const slot = this.#slots.get(number);
      if (slot !== undefined) slot.sent = this.#sender.revision;
      this.#again.delete(number);
      if (number === this.#nextToSend) this.#nextToSend++;
      this.#channel.postFrame(frame).catch((error) => this.fail(error));
    }
  }

  /** The next cell to send, after advancing to the next revision if it is due. */
  #due(): [number, Bytes] | undefined {
    if (this.#error !== undefined || this.#sender === undefined || this.#ready < 0n) return undefined;
    this.#advance(this.#sender);
    const again = [...this.#again].find(([, failed]) => failed < (this.#sender?.revision ?? 0n))?.[0];
    const number = again ?? this.#nextToSend;
    const body = this.#slots.get(number)?.body;
    return body === undefined ? undefined : [number, body];
  }

  #advance(sender: Sender): void {
    const next = sender.revision + 1n;
    if (this.#ready < next || !this.#mixes?.has(next)) return;
    const lasts = this.#options.revisionMs ?? Math.max(MIN_REVISION_MS, TABLE_SHARE * this.#tableMs);
    if (this.#again.size === 0 && this.#now() - this.#revisionSince < lasts) return;
    this.#mixes.apply(next, sender);
    sender.advance();
    this.#revisionSince = this.#now();
  }

  #onFlush(): void {
    this.#flushDue = !this.#isWindowOpen();
    if (!this.#flushDue) this.#cutData();
  }

  #cutData(): void {
    clearTimeout(this.#flush);
    this.#flush = undefined;
    this.#flushDue = false;
    if (this.#filled === 0 || this.#error !== undefined) return;
    const data = this.#partial.subarray(0, this.#filled);
    this.#total += BigInt(data.length);
    this.#cut(layData(this.#options.cellBytes, data));
    wipe(data);
    this.#filled = 0;
  }

  #cut(plain: Bytes): void {
    const number = this.#next++;
    const slot: Slot = { body: undefined, sent: undefined };
    this.#slots.set(number, slot);
    this.#cells?.seal(number, plain).then(
      (body) => {
        wipe(plain);
        slot.body = body;
        this.#condition.notify();
      },
      (error) => this.fail(error),
    );
  }

  #isWindowOpen(): boolean {
    return this.#next < this.#taken + this.#options.window;
  }

  async #windowOpen(): Promise<void> {
    await this.#until(() => this.#isWindowOpen());
    if (this.#next >= MAX_CELLS - 1) {
      const error = new MillraceError('E_TOO_LARGE', 'a live stream has at most 2^32 cells');
      this.fail(error);
      throw error;
    }
  }

  #until(state: () => boolean): Promise<void> {
    return this.#condition.until(() => {
      if (this.#error !== undefined) throw this.#error;
      return state();
    });
  }

  #release(): void {
    this.#ending.release();
    clearTimeout(this.#flush);
    wipe(this.#partial, this.#options.secret);
    this.#sender?.close();
    this.#mixes?.close();
    this.#slots.clear();
  }
}

function unexpected(): MillraceError {
  return new MillraceError('E_FRAME_FORMAT', 'the receiver reported an impossible state');
}
