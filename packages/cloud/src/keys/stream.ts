import {
  type Bytes,
  type Clock,
  concatBytes,
  copyBytes,
  type Logger,
  MillraceError,
  Serial,
  toHex,
  toMillraceError,
  u32be,
  u64be,
  utf8,
  wipe,
} from '@millrace/base';
import { generateP256Key, type SealingContext } from '@millrace/identity';
import {
  encodeControl,
  encodeKey,
  encodeStream,
  mixSecret,
  type StreamParameters,
  type Telemetry,
} from '@millrace/protocol';
import type { PaceGuard } from '../streaming/pace.ts';
import { ReverseStream } from '../streaming/reverse.ts';

/** A cell may be moved between slice and reading; not found this often, it is not there. */
const MAX_MOVES = 5;

/** A segment's place and keys in the present epoch. */
export interface KeyedCell {
  readonly segment: number;
  readonly index: Uint8Array;
  readonly outerKey: Uint8Array;
  readonly cek: Uint8Array;
}

export interface KeysStreamOptions {
  readonly session: Bytes;
  readonly seed: Uint8Array;
  readonly parameters: StreamParameters;
  readonly context: SealingContext;
  readonly guard: PaceGuard;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Slice [from, to) of the playbook, in the present epoch; the stream wipes the keys. */
  readonly slice: (from: number, to: number) => Promise<readonly KeyedCell[]>;
  /** Mails a slice (places only) to the segments node. */
  readonly mailSlice: (cells: readonly { segment: number; index: Uint8Array }[]) => Promise<void>;
  readonly mailMix: (revision: bigint, secret: Uint8Array) => Promise<void>;
  /** Sends to the machine; false while the link is down. */
  readonly send: (message: Bytes) => boolean;
  readonly onEnd: (error: MillraceError | undefined) => void;
}

/**
 * Hands out a session's keys, at most the window ahead of what the machine has acknowledged. Keys are sealed to the
 * machine at the moment their slice is sent, so that maintenance may destroy the epoch while frames are in flight.
 */
export class KeysStream {
  readonly session: Bytes;
  readonly object: string;
  readonly design: string;
  readonly #options: KeysStreamOptions;
  #reverse: ReverseStream | undefined;
  #acked: number;
  /** Slices have been sent, and keys handed out, for all segments below. */
  #sliced: number;
  #working: Promise<void> = Promise.resolve();
  /** The machine opens sealed messages in the order of sealing: seal and send are one step. */
  readonly #sealing = new Serial();
  #again = false;
  #busy = false;
  #mixed = 0n;
  /** How often a segment was not where its slice said. */
  readonly #moved = new Map<number, number>();
  #ended = false;

  private constructor(options: KeysStreamOptions) {
    this.session = copyBytes(options.session);
    this.object = options.parameters.object;
    this.design = options.parameters.design;
    this.#options = options;
    this.#acked = options.parameters.from;
    this.#sliced = options.parameters.from;
  }

  static async open(options: KeysStreamOptions): Promise<KeysStream> {
    const stream = new KeysStream(options);
    stream.#reverse = await ReverseStream.open(stream.session, options.seed, options.parameters);
    wipe(options.seed);
    stream.#pump();
    return stream;
  }

  async receive(frame: Bytes): Promise<void> {
    let telemetry: Telemetry | undefined;
    try {
      telemetry = await this.#reverse?.receive(frame);
    } catch (error) {
      this.#options.logger.debug({ err: error, session: toHex(this.session) }, 'reverse frame dropped');
      return;
    }
    if (telemetry === undefined || this.#ended) return;
    const { parameters, guard } = this.#options;
    try {
      if (telemetry.acked > this.#sliced)
        throw new MillraceError('E_ALARM', 'segments were acknowledged whose keys were never given');
      guard.consume(telemetry.acked);
    } catch (error) {
      return this.#end(toMillraceError(error));
    }
    this.#acked = Math.max(this.#acked, telemetry.acked);
    if (this.#acked === parameters.segments) return this.#end(undefined);
    const { mix, ready } = telemetry;
    if (mix !== undefined) await this.#sealing.run(() => this.#mix(mix, ready));
    this.#pump();
  }

  /** The segments node found some of a slice moved by maintenance: their places in the present epoch. */
  async sliceAgain(segments: readonly number[]): Promise<void> {
    for (const segment of segments) {
      if (this.#ended || segment < this.#acked || segment >= this.#sliced) continue;
      const times = (this.#moved.get(segment) ?? 0) + 1;
      this.#moved.set(segment, times);
      if (times > MAX_MOVES) {
        return this.#end(
          new MillraceError('E_CELL_MISSING', `the vault does not hold segment ${segment}`, { data: { segment } }),
        );
      }
      await this.#give(segment, segment + 1);
    }
  }

  async close(): Promise<void> {
    this.#ended = true;
    await this.#working;
    await this.#reverse?.close();
  }

  /** Slices ahead, half a window at a time, one after the other. */
  #pump(): void {
    if (this.#busy) {
      this.#again = true;
      return;
    }
    this.#busy = true;
    this.#working = this.#work()
      .catch((error: unknown) => this.#end(toMillraceError(error)))
      .finally(() => {
        this.#busy = false;
      });
  }

  async #work(): Promise<void> {
    const { segments, window } = this.#options.parameters;
    const step = Math.max(1, window >> 1);
    do {
      this.#again = false;
      while (!this.#ended) {
        const to = Math.min(segments, this.#acked + window);
        if (to <= this.#sliced || (to - this.#sliced < step && to < segments)) break;
        const next = Math.min(to, this.#sliced + step);
        await this.#give(this.#sliced, next);
        this.#sliced = next;
      }
    } while (this.#again && !this.#ended);
  }

  /** Seals the keys, then tells the segments node where the cells are: both of the same epoch. */
  #give(from: number, to: number): Promise<void> {
    return this.#sealing.run(() => this.#sealAndSend(from, to));
  }

  async #sealAndSend(from: number, to: number): Promise<void> {
    const { context, send, slice, mailSlice } = this.#options;
    const cells = await slice(from, to);
    const sealed: Bytes[] = [];
    for (const { segment, outerKey, cek } of cells) {
      const keys = concatBytes(outerKey, cek);
      sealed.push(encodeKey(segment, await context.seal(keys, u32be(segment))));
      wipe(keys, outerKey, cek);
    }
    if (this.#ended) return;
    for (const key of sealed) {
      if (!send(encodeStream('key', key, this.session)))
        throw new MillraceError('E_UNAVAILABLE', 'the link to the distribution node is down');
    }
    await mailSlice(cells.map(({ segment, index }) => ({ segment, index })));
  }

  /** Answers the machine's point for the next multiple of 64 with ours; all three ends get the same secret. */
  async #mix(point: Uint8Array, ready: bigint): Promise<void> {
    const revision = (ready / 64n + 1n) * 64n;
    if (revision <= this.#mixed) return;
    this.#mixed = revision;
    const own = generateP256Key();
    const shared = await own.agree(point);
    const secret = mixSecret(this.session, revision, shared);
    const sealed = await this.#options.context.seal(own.publicKey, concatBytes(utf8('mix'), u64be(revision)));
    own.close();
    wipe(shared);
    this.#reverse?.mixAt(revision, secret);
    await this.#options.mailMix(revision, secret);
    wipe(secret);
    this.#options.send(encodeControl({ type: 'mix', session: this.session, revision: Number(revision), sealed }));
  }

  #end(error: MillraceError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.onEnd(error);
  }
}
