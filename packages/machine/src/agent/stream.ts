import { type Bytes, isErrorCode, MillraceError, wipe } from '@millrace/base';
import { Follower, type Receiver } from '@millrace/live-matrix';
import { type MachineSide, mostGiven, sliceStep } from '@millrace/protocol';
import { SegmentAssembly } from './assembly.ts';
import type { Feed } from './feed.ts';
import { type ClaimedHeader, readClaimedHeader } from './frame-header.ts';
import type { Incoming, SessionEvent } from './inbox.ts';
import type { LevelChange } from './level-change.ts';
import type { Design } from './licensed-design.ts';
import type { Level } from './matrix-level.ts';
import { MixSecrets } from './mix-secrets.ts';
import type { AgentParts } from './parts.ts';
import type { PrintProgress } from './progress.ts';
import { StallWatch } from './stall-watch.ts';
import { TelemetrySender } from './telemetry-sender.ts';

export interface StreamOptions {
  readonly parts: Pick<AgentParts, 'clock' | 'config' | 'link' | 'logger' | 'secrets' | 'tables'>;
  readonly incoming: Incoming;
  /** Opened set-up. The caller wipes its seed. */
  readonly side: MachineSide;
  readonly design: Design;
  /** Its first revision is ready. The caller closes it. */
  readonly receiver: Receiver;
  /** Level of the receiver's matrix. */
  readonly level: Level;
  readonly feed: Feed;
  readonly progress: PrintProgress;
  readonly change: LevelChange;
  /** Facts for the owner only, sealed. */
  sealed(): Bytes | undefined;
}

/** How a session ended without failing: everything arrived, it broke and may be resumed, or another level is better. */
export type StreamEnd =
  | { readonly kind: 'complete' }
  | { readonly kind: 'broken'; readonly reason: string }
  | { readonly kind: 'changed'; readonly reason: string };

/**
 * One session: receives frames and keys, passes segments in order to the feed, sends telemetry. Nothing reaches the
 * feed unless its frame's MAC is valid, and nothing is accepted after a frame whose MAC is not.
 */
export class Stream {
  readonly #options: StreamOptions;
  readonly #session: Bytes;
  readonly #mixes: MixSecrets;
  readonly #follower: Follower;
  readonly #telemetry: TelemetrySender;
  readonly #assembly: SegmentAssembly;
  readonly #stall: StallWatch;
  readonly #timer: NodeJS.Timeout;
  #decoding = 0;
  #over = false;
  #settle: { resolve(end: StreamEnd): void; reject(error: unknown): void };
  readonly #ended: Promise<StreamEnd>;

  constructor(options: StreamOptions) {
    const { parts, incoming, side, design, receiver, level, feed, progress } = options;
    const { clock, config, link, secrets, tables } = parts;
    this.#options = options;
    this.#session = new Uint8Array(incoming.offer.session);
    this.#assembly = new SegmentAssembly({ side, design, feed, progress, secrets });
    this.#stall = new StallWatch(clock, config.agent.stallMs);
    this.#mixes = new MixSecrets(this.#session);
    this.#settle = { resolve: () => undefined, reject: () => undefined };
    this.#ended = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.#telemetry = new TelemetrySender({
      session: this.#session,
      seed: side.seed,
      parameters: side.parameters,
      engine: receiver.engine,
      mixes: this.#mixes,
      clock,
      ready: () => receiver.ready,
      taken: () => ({ segments: progress.taken, got: progress.got, bytes: progress.bytes }),
      state: () => progress.machineState(),
      sealed: options.sealed,
      tableMs: () => tables.ms(level),
      send: (frame) => link.sendReverse(frame),
    });
    this.#follower = new Follower({
      receiver,
      mixes: this.#mixes.of('forward'),
      now: () => clock.monotonic(),
      onReady: (tableMs) => this.#onReady(tableMs),
      onFailed: (error) => this.#stop(error),
    });
    this.#timer = setInterval(() => this.#look(), this.#stall.intervalMs);
  }

  /**
   * Runs until the machine has executed the whole design, or the session breaks.
   * @throws {MillraceError} if the stream must not continue: altered frames, keys that do not open, an end from the
   *   cloud
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
        this.#stall.heard();
        return this.#onFrame(event.payload);
      case 'key':
        this.#stall.heard();
        void this.#onKeys(event.payload).catch((error) => this.#stop(error));
        return;
      case 'hashes':
        return this.#orStop(() => this.#assembly.addHashes(event));
      case 'mix':
        void this.#onMix(event.revision, event.sealed).catch((error) => this.#stop(error));
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
      return this.#options.parts.logger.debug('dropped a frame of another session');
    }
    if (this.#decoding + this.#assembly.waiting >= this.#options.side.parameters.window) {
      return this.#stop(new MillraceError('E_FRAME_FORMAT', 'more frames came than the window allows'));
    }
    void this.#decode(payload, header);
  }

  async #decode(payload: Bytes, header: ClaimedHeader | undefined): Promise<void> {
    const { receiver, progress, parts } = this.#options;
    const claimed = header?.revision ?? 0n;
    let genuine = false;
    this.#decoding++;
    this.#follower.arrived(claimed);
    try {
      const { revision, frame, cell } = await receiver.decode(payload);
      genuine = true;
      if (this.#over) return wipe(cell);
      parts.link.heard();
      this.#telemetry.heard();
      this.#telemetry.follow(revision);
      this.#orStop(() => {
        this.#assembly.addCell(frame, cell);
        progress.hints += header?.hints ?? 0;
      });
    } catch (error) {
      // The MAC is checked before solving, so the number and revision of an unsolved frame are authentic.
      genuine = error instanceof MillraceError && error.code === 'E_FRAME_UNSOLVED';
      if (this.#over) return;
      if (!genuine || header === undefined) return this.#stop(error);
      parts.logger.info({ segment: header.frame }, 'could not solve a frame; asking for it again');
      this.#telemetry.follow(header.revision);
      this.#telemetry.resend(header.frame);
    } finally {
      this.#decoding--;
      if (!this.#over) this.#follower.settled(claimed, genuine);
    }
  }

  async #onKeys(payload: Bytes): Promise<void> {
    if (!(await this.#assembly.addKeys(payload))) this.#break('keys are missing');
  }

  #onMix(revision: bigint, sealed: Uint8Array): Promise<void> {
    return this.#assembly.inOrder(async () => {
      if (this.#over) return;
      await this.#mixes.answer(this.#options.side.context, revision, sealed);
      if (this.#over) return;
      this.#telemetry.mixed();
      this.#follower.advance();
    });
  }

  #onReady(tableMs: number | undefined): void {
    const { receiver, level, parts } = this.#options;
    if (tableMs !== undefined) parts.tables.took(level, tableMs);
    this.#stall.heard();
    const point = this.#mixes.pointDue(receiver.ready);
    if (point === undefined) this.#telemetry.flush();
    else this.#telemetry.mix(point);
  }

  /** Temporary errors are resumed, like a lost link. All other errors are final. */
  #onEnd(error: MillraceError): void {
    if (error.retryable) this.#break(`the stream was ended: ${error.code}`);
    else this.#stop(error);
  }

  #onTaken(): void {
    if (!this.#over) this.#telemetry.taken();
  }

  #onDone(): void {
    if (this.#over) return;
    this.#telemetry.finish();
    this.#end({ kind: 'complete' });
  }

  #look(): void {
    const { parts, level, change } = this.#options;
    parts.tables.unfinished(level, this.#follower.preparingMs);
    const reason = this.#over ? undefined : change.reason();
    if (reason !== undefined) return this.#end({ kind: 'changed', reason });
    const stalled = this.#stall.isStalled(this.#telemetry.ackedAt);
    if (!stalled || this.#decoding !== 0 || !this.#isWanting()) return;
    this.#break('nothing came any more');
    parts.link.leave('it gives nothing of the stream');
  }

  /** Whether data is due. The acknowledgements determine how much the cloud may send; it sends in steps. */
  #isWanting(): boolean {
    const { progress, side } = this.#options;
    const { segments, window } = side.parameters;
    const allowed = mostGiven(side.parameters, this.#telemetry.acked);
    return progress.got < (allowed === segments ? segments : allowed - sliceStep(window) + 1);
  }

  #break(reason: string): void {
    this.#end({ kind: 'broken', reason });
  }

  #end(end: StreamEnd): void {
    if (this.#over) return;
    this.#over = true;
    this.#assembly.close();
    this.#settle.resolve(end);
  }

  #orStop(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#stop(error);
    }
  }

  /** Aborts the feed before any other call, so that no further segment reaches it. */
  #stop(error: unknown): void {
    if (this.#over) return;
    this.#over = true;
    this.#options.feed.abort(error);
    this.#assembly.close();
    this.#settle.reject(error);
  }

  #close(): void {
    this.#over = true;
    clearInterval(this.#timer);
    this.#follower.close();
    this.#telemetry.close();
    this.#mixes.close();
    this.#assembly.close();
  }
}

/** Error for the end of a stream as reported by the cloud. An unknown code is a fault. */
function endError(code: string, reason: string): MillraceError {
  return new MillraceError(isErrorCode(code) ? code : 'E_INTERNAL', reason.slice(0, 300));
}
