import {
  type Bytes,
  type Clock,
  concatBytes,
  copyBytes,
  type Logger,
  MillraceError,
  Mutex,
  toHex,
  toMillraceError,
  u32be,
  u64be,
  utf8,
  wipe,
} from '@millrace/base';
import { generateP256Key, type HpkeSender } from '@millrace/identity';
import type { HashEngine } from '@millrace/live-matrix';
import {
  encodeControl,
  encodeKey,
  encodeStream,
  leastTaken,
  mixSecret,
  mostGiven,
  type StreamParameters,
  sliceStep,
  type Telemetry,
} from '@millrace/protocol';
import { GROUP_SEGMENTS, type HashGroup } from '@millrace/vault';
import type { PaceGuard } from '../streaming/pace.ts';
import { ReverseStream } from '../streaming/reverse.ts';

/** A segment's keys in the epoch of its slice. */
export interface KeyedCell {
  readonly segment: number;
  readonly outerKey: Uint8Array;
  readonly cek: Uint8Array;
  /** Label of a layer of points. */
  readonly label?: Uint8Array;
}

export interface KeysStreamOptions {
  readonly session: Bytes;
  readonly seed: Uint8Array;
  readonly parameters: StreamParameters;
  readonly context: HpkeSender;
  readonly guard: PaceGuard;
  /** Shared by all streams of the node. */
  readonly engine: HashEngine;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Mails the places of segments [from, to) to the segments node. @returns their keys; the stream wipes them */
  readonly slice: (from: number, to: number, acked: number) => Promise<readonly KeyedCell[]>;
  /** Hashes of a group of segments, with their proof. */
  readonly hashes: (group: number) => Promise<HashGroup>;
  readonly mailMix: (revision: bigint, secret: Uint8Array) => Promise<void>;
  /** Sends to the machine; false while the link is down. */
  readonly send: (message: Bytes) => boolean;
  readonly onEnd: (error: MillraceError | undefined) => void;
}

/**
 * Sends a session's keys, at most one window ahead of the machine's acknowledgements. The keys belong to the epoch in
 * which the segments node reads the cells. Each is sent once, because maintenance may destroy the epoch while frames
 * are in flight.
 */
export class KeysStream {
  readonly session: Bytes;
  readonly object: string;
  readonly design: string;
  readonly #options: KeysStreamOptions;
  #reverse: ReverseStream | undefined;
  /** Number of segments that the machine has taken. */
  #acked: number;
  /** Slices and keys have been sent for all segments below this number. */
  #sliced: number;
  /** Hashes have been sent for all groups below this number. */
  #groups: number;
  #working: Promise<void> = Promise.resolve();
  /** Makes sealing and sending one step, because the machine opens messages in the order of sealing. */
  readonly #sealing = new Mutex();
  #again = false;
  #busy = false;
  #mixed = 0n;
  #ended = false;

  private constructor(options: KeysStreamOptions) {
    this.session = copyBytes(options.session);
    this.object = options.parameters.object;
    this.design = options.parameters.design;
    this.#options = options;
    this.#acked = leastTaken(options.parameters);
    this.#sliced = options.parameters.from;
    this.#groups = Math.floor(options.parameters.from / GROUP_SEGMENTS);
  }

  static async open(options: KeysStreamOptions): Promise<KeysStream> {
    const stream = new KeysStream(options);
    stream.#reverse = await ReverseStream.open(stream.session, options.seed, options.parameters, options.engine);
    wipe(options.seed);
    // If a design has one segment, its key is sent once, so wait until the machine is connected.
    if (options.parameters.segments > 1) stream.#pump();
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
        throw new MillraceError('E_ALARM', 'segments were acknowledged whose keys were never sent');
      guard.consume(telemetry.acked);
    } catch (error) {
      return this.#end(toMillraceError(error));
    }
    this.#acked = Math.max(this.#acked, telemetry.acked);
    if (this.#acked === parameters.segments) return this.#end(undefined);
    const { mix, ready } = telemetry;
    try {
      if (mix !== undefined) await this.#sealing.run(() => this.#mix(mix, ready));
    } catch (error) {
      // The machine did not send a valid point, or the link is down. End only this stream.
      return this.#end(toMillraceError(error));
    }
    this.#pump();
  }

  async close(): Promise<void> {
    this.#ended = true;
    await this.#working;
    await this.#reverse?.close();
  }

  /** Requests slices in advance, one after the other, each at least a quarter of a window. */
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
    const step = sliceStep(window);
    do {
      this.#again = false;
      while (!this.#ended) {
        const to = mostGiven(this.#options.parameters, this.#acked);
        if (to <= this.#sliced || (to - this.#sliced < step && to < segments)) break;
        const cells = await this.#options.slice(this.#sliced, to, this.#acked);
        await this.#sendHashes(to);
        await this.#sealing.run(() => this.#sealAndSend(cells));
        this.#sliced = to;
      }
    } while (this.#again && !this.#ended);
  }

  /** Sends the hashes of segments before their keys. */
  async #sendHashes(to: number): Promise<void> {
    for (; this.#groups * GROUP_SEGMENTS < to; this.#groups++) {
      const { hashes, path } = await this.#options.hashes(this.#groups);
      const group = { type: 'hashes' as const, session: this.session, group: this.#groups, hashes, path: [...path] };
      if (!this.#options.send(encodeControl(group)))
        throw new MillraceError('E_UNAVAILABLE', 'the link to the distribution node is down');
    }
  }

  async #sealAndSend(cells: readonly KeyedCell[]): Promise<void> {
    const { context, send } = this.#options;
    const sealed: Bytes[] = [];
    for (const { segment, outerKey, cek, label = new Uint8Array() } of cells) {
      const keys = concatBytes(outerKey, cek, label);
      sealed.push(encodeKey(segment, await context.seal(keys, u32be(segment))));
      wipe(keys, outerKey, cek);
    }
    if (this.#ended) return;
    for (const key of sealed) {
      if (!send(encodeStream('key', key, this.session)))
        throw new MillraceError('E_UNAVAILABLE', 'the link to the distribution node is down');
    }
  }

  /**
   * Answers the machine's point for the next multiple of 64 with this node's, so that all three ends get the same
   * secret.
   */
  async #mix(point: Uint8Array, ready: bigint): Promise<void> {
    const revision = (ready / 64n + 1n) * 64n;
    if (revision <= this.#mixed) return;
    this.#mixed = revision;
    const own = generateP256Key();
    let secret: Bytes;
    let sealed: Bytes;
    try {
      const shared = await own.agree(point);
      secret = mixSecret(this.session, revision, shared);
      wipe(shared);
      sealed = await this.#options.context.seal(own.publicKey, concatBytes(utf8('mix'), u64be(revision)));
    } finally {
      own.close();
    }
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
