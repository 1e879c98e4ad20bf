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
/** Maximum interval of acknowledgements, and of the machine's state, when the budget is exhausted. */
const SLOW_ACK_MS = 1_000;
const SLOW_STATE_MS = 5_000;
/** Upstream bytes per byte of the design: the budget of telemetry for a slow machine. */
const BUDGET = 0.004;
/** Overhead of a frame on the wire, bytes: kind, WebSocket header and mask, TLS record. */
const ENVELOPE_BYTES = 31;
const MAX_RESEND = 256;
/** A reverse frame may be lost, so the point is sent again until it is answered. */
const POINT_MS = 1_000;

export interface TelemetrySenderOptions {
  readonly session: Uint8Array;
  readonly seed: Uint8Array;
  readonly parameters: StreamParameters;
  readonly engine: EngineSetting;
  readonly mixes: MixSecrets;
  readonly clock: Clock;
  ready(): bigint;
  /** Segments and bytes taken by the machine, and segments received. */
  taken(): { readonly segments: number; readonly got: number; readonly bytes: number };
  state(): MachineState;
  /** Facts for the owner only, sealed. Sent with the state. */
  sealed(): Bytes | undefined;
  /** Milliseconds of the latest table. */
  tableMs(): number;
  send(frame: Uint8Array): boolean;
}

/**
 * Sends the reverse hint stream: acknowledgements and telemetry (spec/protocol.md, 6.7). It sends an acknowledgement
 * for every eighth of the window, or four times a second. It sends the machine's full state at most four times a
 * second, and less often if that would exceed 0.4 % of the design's bytes on a slow machine.
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

  /** Time of the last acknowledgement, monotonic. */
  get ackedAt(): number {
    return this.#ackedAt;
  }

  /** Number of segments acknowledged to the cloud. */
  get acked(): number {
    return this.#sentAcked;
  }

  /** The machine took another segment. */
  taken(): void {
    const { segments } = this.#options.taken();
    if (segments - this.#sentAcked >= this.#every || segments === this.#options.parameters.segments) this.flush();
  }

  /** Requests a segment whose frame could not be solved. */
  resend(segment: number): void {
    if (!this.#resend.includes(segment)) this.#resend.push(segment);
    this.flush();
  }

  /** Sends the point for the next mix, and repeats it until `mixed` is called. */
  mix(point: Bytes): void {
    this.#point = point;
    this.#pointAt = Number.NEGATIVE_INFINITY;
    this.flush();
  }

  /** The mix was answered. */
  mixed(): void {
    this.#point = undefined;
  }

  /** A frame arrived, so the report of the table has reached the cloud. */
  heard(): void {
    this.#heard = true;
  }

  /** Follows the forward stream's newest revision, as far as the secrets of mixes have arrived. */
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

  /** Sends everything that is due. */
  flush(): void {
    if (this.#closed) return;
    const { clock, taken, ready } = this.#options;
    const now = clock.monotonic();
    // Attach the state to a message that is sent anyway: the nodes of a fleet then read fewer messages.
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
    // The nodes learn of the table from the first message, which may arrive before they have opened their ends of the
    // session. Repeat it until a frame arrives.
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
