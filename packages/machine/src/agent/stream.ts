import { type Bytes, type Clock, isErrorCode, type Logger, MillraceError, Serial, u32be, wipe } from '@millrace/base';
import { Follower, hold, type Receiver, type SecretMemory } from '@millrace/live-matrix';
import { decodeKey, type MachineSide, type MachineState, mostGiven, sliceStep } from '@millrace/protocol';
import type { Design } from './design.ts';
import type { Feed } from './feed.ts';
import { type ClaimedHeader, readClaimedHeader } from './frame-header.ts';
import type { Incoming, SessionEvent } from './inbox.ts';
import { Mixes } from './mixes.ts';
import { Reporter } from './reporter.ts';
import { cellBytes } from './segment.ts';
import { SegmentHashes } from './segment-hashes.ts';

export interface StreamOptions {
  readonly incoming: Incoming;
  /** Opened set-up; its seed is wiped by the caller. */
  readonly side: MachineSide;
  readonly design: Design;
  /** First revision ready; closed by the caller. */
  readonly receiver: Receiver;
  readonly feed: Feed;
  /** The window's keys lie here. */
  readonly secrets: SecretMemory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly stallMs: number;
  state(): MachineState;
  /** What only the owner learns, sealed. */
  sealed(): Bytes | undefined;
  send(frame: Uint8Array): boolean;
  /** A table took so many milliseconds. */
  onTable(tableMs: number): void;
  /** The one under way has taken so many, and is not ready. */
  onUnfinished(ms: number): void;
  /** Milliseconds of the latest table. */
  tableMs(): number;
  /** Why the session should end, to go on with other parameters; asked now and then. */
  change(): string | undefined;
  onHints(hints: number): void;
}

/** How a session ended when it did not fail: everything has come, it broke and may be resumed, or another is better. */
export type StreamEnd =
  | { readonly kind: 'complete' }
  | { readonly kind: 'broken'; readonly reason: string }
  | { readonly kind: 'changed'; readonly reason: string };

/**
 * One session: frames and keys in, segments in order to the feed, telemetry out. Nothing reaches the feed that has not
 * passed the frame's MAC, and nothing follows a frame that did not.
 */
export class Stream {
  readonly #options: StreamOptions;
  readonly #session: Bytes;
  readonly #mixes: Mixes;
  readonly #follower: Follower;
  readonly #reporter: Reporter;
  /** The context of the keys opens its messages only in the order in which they were sealed. */
  readonly #sealed = new Serial();
  readonly #cells = new Map<number, Bytes>();
  readonly #keys = new Map<number, Uint8Array>();
  readonly #hashes: SegmentHashes;
  readonly #watch: NodeJS.Timeout;
  #decoding = 0;
  #nextKey: number;
  #lastEvent: number;
  /** When the watch looked last. */
  #watchedAt: number;
  #over = false;
  #settle: { resolve(end: StreamEnd): void; reject(error: unknown): void };
  readonly #ended: Promise<StreamEnd>;

  constructor(options: StreamOptions) {
    const { incoming, side, receiver, feed, clock } = options;
    this.#options = options;
    this.#session = new Uint8Array(incoming.offer.session);
    this.#nextKey = side.parameters.from;
    this.#hashes = new SegmentHashes(options.design, side.parameters.from);
    this.#lastEvent = clock.monotonic();
    this.#watchedAt = this.#lastEvent;
    this.#mixes = new Mixes(this.#session);
    this.#settle = { resolve: () => undefined, reject: () => undefined };
    this.#ended = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.#reporter = new Reporter({
      session: this.#session,
      seed: side.seed,
      parameters: side.parameters,
      engine: receiver.engine,
      mixes: this.#mixes,
      clock,
      ready: () => receiver.ready,
      taken: () => ({ segments: feed.taken, got: feed.got, bytes: feed.bytes }),
      state: options.state,
      sealed: options.sealed,
      tableMs: options.tableMs,
      send: options.send,
    });
    this.#follower = new Follower({
      receiver,
      mixes: this.#mixes.of('forward'),
      now: () => clock.monotonic(),
      onReady: (tableMs) => this.#onReady(tableMs),
      onFailed: (error) => this.#stop(error),
    });
    this.#watch = setInterval(() => this.#look(), Math.max(20, Math.min(500, options.stallMs / 5)));
  }

  /**
   * Runs until the machine has executed the whole design, or the session breaks.
   * @throws {MillraceError} when the stream must not go on: altered frames, keys that do not open, an end from the cloud
   */
  async run(): Promise<StreamEnd> {
    const { feed, incoming } = this.#options;
    const unwatch = feed.onTaken(() => this.#onTaken());
    try {
      this.#onReady(undefined);
      incoming.attend((event) => this.#onEvent(event));
      feed.done.then(
        () => this.#onDone(),
        (error) => this.#stop(error),
      );
      return await this.#ended;
    } finally {
      unwatch();
      this.#close();
    }
  }

  #onEvent(event: SessionEvent): void {
    if (this.#over) return;
    switch (event.type) {
      case 'frame':
        this.#lastEvent = this.#options.clock.monotonic();
        return this.#onFrame(event.payload);
      case 'key':
        this.#lastEvent = this.#options.clock.monotonic();
        void this.#sealed.run(() => this.#onKey(event.payload)).catch((error) => this.#stop(error));
        return;
      case 'hashes':
        return this.#onHashes(event);
      case 'mix':
        void this.#sealed.run(() => this.#onMix(event.revision, event.sealed)).catch((error) => this.#stop(error));
        return;
      case 'lost':
        return this.#break(`${event.who} went away`);
      case 'end':
        return this.#onEnd(endError(event.code, event.reason));
    }
  }

  #onFrame(payload: Bytes): void {
    const header = readClaimedHeader(payload);
    if (header !== undefined && Buffer.compare(header.session, this.#session) !== 0) {
      return this.#options.logger.debug('a frame of another session');
    }
    if (this.#decoding + this.#cells.size >= this.#options.side.parameters.window) {
      return this.#stop(new MillraceError('E_FRAME_FORMAT', 'more frames came than the window allows'));
    }
    void this.#decode(payload, header);
  }

  async #decode(payload: Bytes, header: ClaimedHeader | undefined): Promise<void> {
    const claimed = header?.revision ?? 0n;
    let genuine = false;
    this.#decoding++;
    this.#follower.arrived(claimed);
    try {
      const { revision, frame, cell } = await this.#options.receiver.decode(payload);
      genuine = true;
      if (this.#over) return wipe(cell);
      this.#reporter.heard();
      this.#reporter.follow(revision);
      this.#onCell(frame, cell, header?.hints ?? 0);
    } catch (error) {
      // The MAC is checked before anything is solved: the frame's number and revision are the sender's.
      genuine = error instanceof MillraceError && error.code === 'E_FRAME_UNSOLVED';
      if (this.#over) return;
      if (!genuine || header === undefined) return this.#stop(error);
      this.#options.logger.info({ segment: header.frame }, 'a frame could not be solved');
      this.#reporter.follow(header.revision);
      this.#reporter.resend(header.frame);
    } finally {
      this.#decoding--;
      if (!this.#over) this.#follower.settled(claimed, genuine);
    }
  }

  #onCell(segment: number, cell: Bytes, hints: number): void {
    const { feed, side } = this.#options;
    const { segments, window, layer } = side.parameters;
    if (segment < feed.got || this.#cells.has(segment)) {
      wipe(cell);
      return this.#stop(new MillraceError('E_FRAME_REPLAY', `segment ${segment} came again`));
    }
    if (segment >= segments || segment >= feed.taken + window || cell.length !== cellBytes(layer)) {
      wipe(cell);
      return this.#stop(new MillraceError('E_FRAME_FORMAT', `frame ${segment} is not one of this window`));
    }
    this.#cells.set(segment, cell);
    this.#options.onHints(hints);
    this.#deliver();
  }

  async #onKey(payload: Bytes): Promise<void> {
    const { segment, sealed } = decodeKey(payload);
    if (this.#over) return;
    // One is missing, and the context opens none of those that follow: only a new session helps.
    if (segment > this.#nextKey) return this.#break('keys are missing');
    const keys = await this.#options.side.context.open(sealed, u32be(segment));
    if (this.#over) return wipe(keys);
    if (segment < this.#nextKey) {
      wipe(keys);
      return this.#stop(new MillraceError('E_FRAME_REPLAY', `the keys of segment ${segment} came again`));
    }
    this.#keys.set(segment, hold(this.#options.secrets, keys));
    this.#nextKey = segment + 1;
    this.#deliver();
  }

  #onHashes(event: Extract<SessionEvent, { type: 'hashes' }>): void {
    const { feed, side } = this.#options;
    try {
      this.#hashes.add(event, feed.taken + side.parameters.window);
    } catch (error) {
      return this.#stop(error);
    }
    this.#deliver();
  }

  async #onMix(revision: bigint, sealed: Uint8Array): Promise<void> {
    if (this.#over) return;
    await this.#mixes.answer(this.#options.side.context, revision, sealed);
    if (this.#over) return;
    this.#reporter.mixed();
    this.#follower.advance();
  }

  /** Hands on what is complete, in order. */
  #deliver(): void {
    const { feed } = this.#options;
    for (;;) {
      const segment = feed.got;
      const [cell, keys, hash] = [this.#cells.get(segment), this.#keys.get(segment), this.#hashes.of(segment)];
      if (cell === undefined || keys === undefined || hash === undefined) return;
      this.#cells.delete(segment);
      this.#keys.delete(segment);
      feed.push(cell, keys, hash);
    }
  }

  #onReady(tableMs: number | undefined): void {
    const { receiver, clock, onTable } = this.#options;
    if (tableMs !== undefined) onTable(tableMs);
    this.#lastEvent = clock.monotonic();
    const point = this.#mixes.pointDue(receiver.ready);
    if (point === undefined) this.#reporter.flush();
    else this.#reporter.mix(point);
  }

  /** What may pass is resumed, like a lost link; everything else is final. */
  #onEnd(error: MillraceError): void {
    if (error.retryable) this.#break(`the stream was ended: ${error.code}`);
    else this.#stop(error);
  }

  #onTaken(): void {
    if (!this.#over) this.#reporter.taken();
  }

  #onDone(): void {
    if (this.#over) return;
    this.#reporter.finish();
    this.#end({ kind: 'complete' });
  }

  #look(): void {
    const { onUnfinished, change } = this.#options;
    onUnfinished(this.#follower.preparingMs);
    const reason = this.#over ? undefined : change();
    if (reason !== undefined) return this.#end({ kind: 'changed', reason });
    this.#watchForStall();
  }

  #watchForStall(): void {
    const { clock, stallMs } = this.#options;
    const now = clock.monotonic();
    // This process was suspended: what came meanwhile waits behind this timer.
    if (Math.abs(now - this.#watchedAt) > stallMs) this.#lastEvent = now;
    this.#watchedAt = now;
    const since = now - Math.max(this.#lastEvent, this.#reporter.ackedAt);
    if (this.#isWanting() && this.#decoding === 0 && since > stallMs) this.#break('nothing came any more');
  }

  /** Something is due: what the cloud may send is counted from what it has been told, and comes a step at a time. */
  #isWanting(): boolean {
    const { feed, side } = this.#options;
    const { segments, window } = side.parameters;
    const allowed = mostGiven(side.parameters, this.#reporter.acked);
    return feed.got < (allowed === segments ? segments : allowed - sliceStep(window) + 1);
  }

  #break(reason: string): void {
    this.#end({ kind: 'broken', reason });
  }

  #end(end: StreamEnd): void {
    if (this.#over) return;
    this.#over = true;
    this.#settle.resolve(end);
  }

  /** At once: the feed is told before anything else is handed on. */
  #stop(error: unknown): void {
    if (this.#over) return;
    this.#over = true;
    this.#options.feed.abort(error);
    this.#settle.reject(error);
  }

  #close(): void {
    this.#over = true;
    clearInterval(this.#watch);
    this.#follower.close();
    this.#reporter.close();
    this.#mixes.close();
    wipe(...this.#cells.values());
    for (const keys of this.#keys.values()) this.#options.secrets.give(keys);
    this.#cells.clear();
    this.#keys.clear();
  }
}

/** What the cloud says at the end of a stream; a code that is none of ours is a fault. */
function endError(code: string, reason: string): MillraceError {
  return new MillraceError(isErrorCode(code) ? code : 'E_INTERNAL', reason.slice(0, 300));
}
