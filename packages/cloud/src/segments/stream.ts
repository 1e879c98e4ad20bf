import {
  type Bytes,
  type Clock,
  copyBytes,
  type Logger,
  MillraceError,
  toHex,
  toMillraceError,
  wipe,
} from '@millrace/base';
import { createSender, type HashEngine, type Sender } from '@millrace/live-matrix';
import { forwardSeed, leastTaken, mostGiven, type StreamParameters, type Telemetry } from '@millrace/protocol';
import type { PaceGuard } from '../streaming/pace.ts';
import { ReverseStream } from '../streaming/reverse.ts';
import { revisionMsFor } from '../streaming/revision-interval.ts';

export interface SegmentsStreamOptions {
  readonly session: Bytes;
  readonly permitId: string;
  readonly seed: Uint8Array;
  readonly parameters: StreamParameters;
  readonly guard: PaceGuard;
  /** Shared by all streams of the node. */
  readonly engine: HashEngine;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Sends a frame to the machine; false while the link is down. */
  readonly sendFrame: (frame: Bytes) => boolean;
  /** Live figures for control. */
  readonly onTelemetry: (telemetry: Telemetry, now: { revision: bigint; revisionMs: number }) => void;
  /** Called when the machine has acknowledged segments. The window advances when this resolves. */
  readonly onFirstTaken: (acked: number) => Promise<void>;
  /** Called once, when the machine has all segments or the stream has to stop with an error. */
  readonly onEnd: (error: MillraceError | undefined) => void;
}

/** Resends that are always allowed. One frame in ten million cannot be decoded; it must not raise an alarm. */
const mostRepeats = ({ segments }: StreamParameters): number => 16 + Math.ceil(segments / 50);

interface Slot {
  readonly body: Bytes;
  /** Revision in which the cell was last sent. */
  sent: bigint;
}

/**
 * Sends one session's cells as frames, at most one window ahead of the machine's acknowledgements, and advances the
 * revision. It has no content keys, and only the slice of the playbook that the window requires.
 */
export class SegmentsStream {
  readonly session: Bytes;
  readonly object: string;
  readonly design: string;
  readonly parameters: StreamParameters;
  readonly #options: SegmentsStreamOptions;
  readonly #sender: Sender;
  /** Cells that have not been sent, by segment. */
  readonly #cells = new Map<number, Bytes>();
  /** Cells that have been sent and are not acknowledged, by segment. */
  readonly #sent = new Map<number, Slot>();
  /** Segments that the machine has requested again. */
  readonly #again = new Set<number>();
  /** Every segment below this number has been sent. */
  #next: number;
  readonly #mixes = new Map<bigint, Bytes>();
  #reverse: ReverseStream | undefined;
  /** Cells below this number are dropped: the machine has them, or they precede the stream. */
  #got: number;
  /**
   * Number of segments that the machine has taken. The window is counted from here, because a resumed machine may
   * already hold a segment.
   */
  #taken: number;
  /** Whether the machine's start is durable. Until then the window does not advance. */
  #begun: 'no' | 'soon' | 'yes';
  #ready = -1n;
  /** Number of segments that the machine has requested again in this session. */
  #repeats = 0;
  #revisionSince: number;
  /** Minimum duration of a revision, ms; follows the machine's table times. */
  #revisionMs: number;
  #ended = false;

  private constructor(options: SegmentsStreamOptions) {
    const { parameters, clock } = options;
    const { order, suite, hints, chaffPercent = 0 } = parameters;
    this.session = copyBytes(options.session);
    this.object = parameters.object;
    this.design = parameters.design;
    this.parameters = parameters;
    this.#options = options;
    this.#got = parameters.from;
    this.#next = parameters.from;
    this.#taken = leastTaken(parameters);
    this.#begun = parameters.from > 0 ? 'yes' : 'no';
    this.#revisionSince = clock.monotonic();
    this.#revisionMs = parameters.revisionMs;
    const seed = forwardSeed(options.seed);
    this.#sender = createSender({
      parameters: { order, suite, hints, chaffPercent },
      sessionId: this.session,
      seed,
      engine: options.engine,
    });
    wipe(seed);
  }

  static async open(options: SegmentsStreamOptions): Promise<SegmentsStream> {
    const stream = new SegmentsStream(options);
    stream.#reverse = await ReverseStream.open(stream.session, options.seed, options.parameters, options.engine);
    wipe(options.seed);
    return stream;
  }

  /** Whether the segment's cell is still needed: a slice may be delivered twice. */
  wants(segment: number): boolean {
    return !this.#ended && segment >= this.#next && !this.#cells.has(segment);
  }

  /** Adds the cells of the next slice, with their outer layer. */
  addCell(segment: number, body: Bytes): void {
    if (!this.wants(segment)) return wipe(body);
    this.#cells.set(segment, body);
    this.#pump();
  }

  /** Ends the stream with an error. */
  fail(error: MillraceError): void {
    this.#end(error);
  }

  addMix(revision: bigint, secret: Uint8Array): void {
    this.#mixes.set(revision, copyBytes(secret));
    this.#pump();
  }

  /** Handles one reverse frame from the machine. A frame that does not decode changes nothing. */
  async receive(frame: Bytes): Promise<void> {
    let telemetry: Telemetry | undefined;
    try {
      telemetry = await this.#reverse?.receive(frame);
    } catch (error) {
      this.#options.logger.debug({ err: error, session: toHex(this.session) }, 'reverse frame dropped');
      return;
    }
    if (telemetry === undefined || this.#ended) return;
    const { parameters, guard, onTelemetry } = this.#options;
    try {
      if (telemetry.acked > this.#next) {
        throw new MillraceError('E_ALARM', 'segments were acknowledged that were never sent');
      }
      guard.consume(telemetry.acked);
    } catch (error) {
      return this.#end(toMillraceError(error));
    }
    this.#taken = Math.max(this.#taken, telemetry.acked);
    if (this.#begun === 'no' && this.#taken > 0) await this.#begin();
    if (this.#ended) return;
    this.#forget(Math.max(telemetry.acked, telemetry.got ?? 0));
    if (telemetry.ready > this.#ready) this.#ready = telemetry.ready;
    if (telemetry.tableMs !== undefined) this.#revisionMs = revisionMsFor(parameters.order, telemetry.tableMs);
    const { resend = [] } = telemetry;
    this.#repeats += resend.length;
    if (this.#repeats > mostRepeats(parameters))
      return this.#end(new MillraceError('E_ALARM', 'more segments were requested again than can have been lost'));
    for (const segment of resend) this.#askAgain(segment);
    onTelemetry(telemetry, { revision: this.#sender.revision, revisionMs: this.#revisionMs });
    // The machine has all segments. It reports progress until it is done or its link closes.
    if (telemetry.machine?.state === 'done' && this.#taken === parameters.segments) return this.#end(undefined);
    this.#pump();
  }

  /** Advances to the next revision when it is due. Called periodically and after every message. */
  tick(): void {
    if (this.#ready > this.#sender.revision) this.#pump();
  }

  async close(): Promise<void> {
    this.#ended = true;
    this.#sender.close();
    wipe(...this.#cells.values(), ...[...this.#sent.values()].map(({ body }) => body));
    this.#cells.clear();
    this.#sent.clear();
    wipe(...this.#mixes.values());
    await this.#reverse?.close();
  }

  /** Drops the cells below this number. The machine has them and does not request them again in this session. */
  #forget(below: number): void {
    for (; this.#got < Math.min(below, this.#next); this.#got++) {
      wipe(this.#sent.get(this.#got)?.body);
      this.#sent.delete(this.#got);
      this.#again.delete(this.#got);
    }
  }

  #askAgain(segment: number): void {
    const slot = this.#sent.get(segment);
    // A frame number may be used only once in a revision, so the cell is sent again in the next one.
    if (slot !== undefined && slot.sent <= this.#ready) this.#again.add(segment);
  }

  #pump(): void {
    if (this.#ended || this.#ready < 0n) return;
    try {
      this.#advance();
      for (const segment of this.#again) {
        const slot = this.#sent.get(segment);
        if (slot === undefined || slot.sent >= this.#sender.revision) continue;
        if (!this.#send(segment, slot.body)) return;
        this.#again.delete(segment);
      }
      const end = mostGiven(this.#options.parameters, this.#begun === 'yes' ? this.#taken : 0);
      for (; this.#next < end; this.#next++) {
        const body = this.#cells.get(this.#next);
        if (body === undefined || !this.#send(this.#next, body)) return;
        this.#cells.delete(this.#next);
      }
    } catch (error) {
      this.#end(toMillraceError(error));
    }
  }

  #send(segment: number, body: Bytes): boolean {
    if (!this.#options.sendFrame(this.#sender.encode(segment, body))) return false;
    this.#sent.set(segment, { body, sent: this.#sender.revision });
    return true;
  }

  #advance(): void {
    const { clock } = this.#options;
    const next = this.#sender.revision + 1n;
    const now = clock.monotonic();
    if (now < this.#revisionSince) this.#revisionSince = now; // a clock that went back must not stop the stream
    const due = now - this.#revisionSince >= this.#revisionMs || this.#again.size > 0;
    if (!due || this.#ready < next) return;
    if (next % 64n === 0n) {
      const secret = this.#mixes.get(next);
      if (secret === undefined) return;
      this.#mixes.delete(next);
      this.#sender.mix(secret);
      this.#reverse?.mixAt(next, secret);
      wipe(secret);
    }
    this.#sender.advance();
    this.#revisionSince = now;
  }

  async #begin(): Promise<void> {
    this.#begun = 'soon';
    try {
      await this.#options.onFirstTaken(this.#taken);
    } catch (error) {
      return this.#end(toMillraceError(error));
    }
    this.#begun = 'yes';
  }

  #end(error: MillraceError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.onEnd(error);
  }
}
