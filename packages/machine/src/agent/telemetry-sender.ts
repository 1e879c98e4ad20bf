import { type Bytes, type Clock, wipe } from '@millrace/base';
import { createEngine, createSender, type EngineSetting, type Sender } from '@millrace/live-matrix';
import {
  type MachineState,
  reverseKeys,
  reverseMatrix,
  type StreamParameters,
  sealTelemetry,
} from '@millrace/protocol';
import type { MixSecrets } from './mix-secrets.ts';

const TICK_MS = 250;
/** Longest silence of acknowledgements, and of the machine's state, when the budget is used up. */
const SLOW_ACK_MS = 1_000;
const SLOW_STATE_MS = 5_000;
/** Upstream bytes for each byte of the design; what telemetry may use when the machine is slow. */
const BUDGET = 0.004;
/** Bytes around a frame on the wire: kind, WebSocket header and mask, TLS record. */
const ENVELOPE_BYTES = 31;
const MAX_RESEND = 256;
/** A reverse frame may be lost too: the point is sent again until it is answered. */
const POINT_MS = 1_000;

export interface TelemetrySenderOptions {
  readonly session: Uint8Array;
  readonly seed: Uint8Array;
  readonly parameters: StreamParameters;
  readonly engine: EngineSetting;
  readonly mixes: MixSecrets;
  readonly clock: Clock;
  ready(): bigint;
  /** Segments and bytes that the machine has taken, and segments that have come. */
  taken(): { readonly segments: number; readonly got: number; readonly bytes: number };
  state(): MachineState;
  /** What only the owner learns, sealed; goes with the state. */
  sealed(): Bytes | undefined;
  /** Milliseconds of the latest table. */
  tableMs(): number;
  send(frame: Uint8Array): boolean;
}

/**
 * Sends the reverse hint stream: acknowledgements and telemetry, few and small (spec/protocol.md, 6.7). An acknowledgement goes
 * out for every eighth of the window, or four times a second; the machine's whole state at most four times a second, and
 * less often when a slow machine would make that more than 0.4 % of the design's bytes.
 */
export class TelemetrySender {
  readonly #options: TelemetrySenderOptions;
  readonly #sender: Sender;
  readonly #key: Uint8Array;
  readonly #every: number;
  readonly #timer: NodeJS.Timeout;
  #frame = 0;
  #resend: number[] = [];
  #point: Bytes | undefined;
  #pointAt = Number.NEGATIVE_INFINITY;
  #sentAcked: number;
  #sentAt = 0;
  #ackedAt = 0;
  #stateAt = Number.NEGATIVE_INFINITY;
  #upstream = 0;
  #heard = false;
  #closed = false;

  constructor(options: TelemetrySenderOptions) {
    const { parameters } = options;
    const keys = reverseKeys(options.seed);
    this.#options = options;
    this.#key = keys.telemetry;
    this.#sender = createSender({
      parameters: reverseMatrix(parameters),
      sessionId: options.session,
      seed: keys.seed,
      engine: createEngine(options.engine),
    });
    wipe(keys.seed);
    this.#every = Math.max(1, Math.floor(parameters.window / 8));
    this.#sentAcked = parameters.from;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  /** When it was last acknowledged, on the monotonic clock. */
  get ackedAt(): number {
    return this.#ackedAt;
  }

  /** Segments that the cloud has been told of. */
  get acked(): number {
    return this.#sentAcked;
  }

  /** The machine has taken another segment. */
  taken(): void {
    const { segments } = this.#options.taken();
    if (segments - this.#sentAcked >= this.#every || segments === this.#options.parameters.segments) this.flush();
  }

  /** Asks for a segment whose frame could not be solved. */
  resend(segment: number): void {
    if (!this.#resend.includes(segment)) this.#resend.push(segment);
    this.flush();
  }

  /** Sends our point for the next mix, and again until `mixed`. */
  mix(point: Bytes): void {
    this.#point = point;
    this.#pointAt = Number.NEGATIVE_INFINITY;
    this.flush();
  }

  /** The mix has been answered. */
  mixed(): void {
    this.#point = undefined;
  }

  /** A frame has come: the cloud knows that a table is ready. */
  heard(): void {
    this.#heard = true;
  }

  /** Follows the forward stream's newest revision, as far as the secret of a mix is here. */
  follow(revision: bigint): void {
    while (!this.#closed && this.#sender.revision < revision) {
      const next = this.#sender.revision + 1n;
      if (!this.#options.mixes.has(next)) return;
      this.#options.mixes.apply('reverse', next, this.#sender);
      this.#sender.advance();
    }
  }

  /** Sends the last message, with the machine's state. */
  finish(): void {
    this.#stateAt = Number.NEGATIVE_INFINITY;
    this.flush();
  }

  /** Sends everything that is due, now. */
  flush(): void {
    if (this.#closed) return;
    const { clock, taken, ready } = this.#options;
    const now = clock.monotonic();
    // The state rides on a message that is sent anyway: fewer messages for the nodes of a fleet to read.
    const withState = this.#stateIsDue(now) || now - this.#stateAt >= SLOW_STATE_MS / 2;
    const withPoint = this.#point !== undefined && now - this.#pointAt >= POINT_MS;
    const { segments: acked, got } = taken();
    const frame = this.#frame++;
    const cell = sealTelemetry(this.#key, frame, {
      acked,
      got,
      ready: ready(),
      ...(this.#resend.length === 0 ? {} : { resend: this.#resend.splice(0, MAX_RESEND) }),
      ...(withPoint && this.#point !== undefined ? { mix: this.#point } : {}),
      ...(withState ? this.#machine() : {}),
    });
    const encoded = this.#sender.encode(frame, cell);
    this.#options.send(encoded);
    if (withPoint) this.#pointAt = now;
    if (acked > this.#sentAcked) this.#ackedAt = now;
    this.#sentAcked = acked;
    this.#sentAt = now;
    if (withState) this.#stateAt = now;
    this.#upstream += encoded.length + ENVELOPE_BYTES;
  }

  #machine() {
    const { state, sealed, tableMs } = this.#options;
    const own = sealed();
    return {
      machine: state(),
      tableMs: Math.round(tableMs()),
      ...(own === undefined ? {} : { sealed: own }),
    };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#sender.close();
    wipe(this.#key);
  }

  #tick(): void {
    const now = this.#options.clock.monotonic();
    const news = this.#options.taken().segments > this.#sentAcked;
    const ackIsDue = news && (this.#withinBudget() || now - this.#sentAt >= SLOW_ACK_MS);
    // The first message may arrive before the nodes have opened their ends of the session, and they learn of the table
    // from it: repeat it until a frame has come.
    if (!this.#heard || ackIsDue || this.#stateIsDue(now)) this.flush();
  }

  #stateIsDue(now: number): boolean {
    const since = now - this.#stateAt;
    return since >= SLOW_STATE_MS || (since >= TICK_MS && this.#withinBudget());
  }

  #withinBudget(): boolean {
    return this.#upstream <= BUDGET * this.#options.taken().bytes;
  }
}
