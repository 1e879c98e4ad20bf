import { type Bytes, concatBytes, type MillraceError, Mutex, u32be, u64be, utf8 } from '@millrace/base';
import { generateP256Key, type HpkeSender, type P256Key } from '@millrace/identity';
import { createEngine, createReceiver, createSender, type Receiver, type Sender } from '@millrace/live-matrix';
import {
  type Attested,
  type Disclosure,
  encodeControl,
  encodeKey,
  encodeStream,
  forwardSeed,
  leastTaken,
  type Machine,
  mixSecret,
  openTelemetry,
  reverseKeys,
  reverseMatrix,
  type StreamParameters,
  sliceStep,
  type Telemetry,
} from '@millrace/protocol';

import { GROUP_SEGMENTS, type HashGroup } from '@millrace/vault';
import type { StoredDesign } from './agent-design.ts';

/** Changes that a test can make to a stream. Everything else is honest. */
export interface Meddling {
  /** Returns the frames to send instead of this one. */
  frame?(frame: Bytes, segment: number, session: CloudStream): readonly Bytes[];
  /** Returns the keys to send instead of this one. */
  key?(payload: Bytes, segment: number, session: CloudStream): readonly Bytes[];
  /** Returns another answer to call-home. */
  callHome?(answer: CallHomeAnswer, call: number): CallHomeAnswer | Promise<CallHomeAnswer>;
  /** Returns false to lose the answer with the connection. */
  answer?(method: string, call: number): boolean;
  /** Called for every telemetry message. */
  telemetry?(telemetry: Telemetry, session: CloudStream): void;
  /** Returns the error with which to refuse the call. */
  refuse?(method: string, call: number): MillraceError | undefined;
  /** Returns the hashes to send instead of a group's; undefined sends none. */
  hashes?(group: HashGroup, number: number): HashGroup | undefined;
  /** Replaces the core, and the key that offers the session. */
  core?(core: Bytes): Bytes;
  sender?(keysNode: P256Key): P256Key;
  /** Changes the parameters of a session. */
  parameters?(parameters: StreamParameters): StreamParameters;
  /** Returns false to offer no session. */
  offer?(call: number): boolean;
}

export interface CallHomeAnswer {
  readonly permit: Bytes;
  readonly print: Bytes;
  readonly licence: Bytes;
  /** Credentials of the keys that signed the licence and the print. */
  readonly licenceSigner: Bytes;
  readonly printSigner: Bytes;
  readonly amendments: readonly Attested[];
  readonly credits: readonly Attested[];
  readonly core: Bytes;
  readonly machine: Machine;
}

export interface CloudOptions {
  readonly design: StoredDesign;
  readonly machine: Omit<Machine, 'machine' | 'publicKey'>;
  /** Public key of a machine whose key is in a token; absent: the cloud's own `machineKey`. */
  readonly publicKey?: Bytes;
  readonly window?: number;
  /** Number of frames after which the sender starts the next revision, if the machine is ready. */
  readonly framesPerRevision?: number;
  /** Waits for the machine instead of sending more frames in one revision. */
  readonly strict?: boolean;
  readonly meddling?: Meddling;
  /** Information that the licence discloses to the operator; the default disclosure if absent. */
  readonly disclose?: readonly Disclosure[];
  /** Key to which the machine seals its state; the owner's if absent. */
  readonly telemetryKey?: Bytes;
}

/** The parts of the cloud that a stream uses. */
export interface StreamCloud {
  readonly options: CloudOptions;
  readonly meddling: Meddling;
  readonly telemetry: Telemetry[];
  send(message: Bytes): boolean;
}

/** The ends of the segments and keys nodes in one session. */
export class CloudStream {
  readonly session: Bytes;
  readonly parameters: StreamParameters;
  readonly sender: Sender;
  readonly #cloud: StreamCloud;
  readonly #context: HpkeSender;
  readonly #reverse: Receiver;
  readonly #telemetryKey: Bytes;
  readonly #secrets = new Map<bigint, Bytes>();
  readonly #reverseSecrets = new Map<bigint, Bytes>();
  readonly #order = new Mutex();
  readonly #arrivals = new Mutex();
  readonly #repeat = new Map<number, bigint>();
  ended = false;
  acked: number;
  ready = -1n;
  #sent: number;
  #keyed: number;
  #hashed: number;
  #inRevision = 0;
  #mixed = 0n;

  private constructor(
    cloud: StreamCloud,
    session: Bytes,
    parameters: StreamParameters,
    context: HpkeSender,
    ends: { sender: Sender; reverse: Receiver; telemetryKey: Bytes },
  ) {
    this.#cloud = cloud;
    this.session = session;
    this.parameters = parameters;
    this.#context = context;
    this.sender = ends.sender;
    this.#reverse = ends.reverse;
    this.#telemetryKey = ends.telemetryKey;
    this.acked = leastTaken(parameters);
    this.#sent = parameters.from;
    this.#keyed = parameters.from;
    this.#hashed = Math.floor(parameters.from / GROUP_SEGMENTS);
  }

  static async open(
    cloud: StreamCloud,
    session: Bytes,
    seed: Bytes,
    parameters: StreamParameters,
    context: HpkeSender,
  ): Promise<CloudStream> {
    const { order, suite, hints } = parameters;
    const sender = createSender({
      parameters: { order, suite, hints },
      sessionId: session,
      seed: forwardSeed(seed),
      engine: createEngine(),
    });
    const keys = reverseKeys(seed);
    const reverse = await createReceiver({
      parameters: reverseMatrix(parameters),
      sessionId: session,
      seed: keys.seed,
      threads: 0,
    });
    return new CloudStream(cloud, session, parameters, context, { sender, reverse, telemetryKey: keys.telemetry });
  }

  /**
   * Handles messages in order of arrival. Building a table twice concurrently would put the stream one table too far
   * ahead.
   */
  receive(payload: Bytes): Promise<void> {
    return this.#arrivals.run(() => this.#receive(payload));
  }

  async #receive(payload: Bytes): Promise<void> {
    if (this.ended) return;
    const revision = new DataView(payload.buffer, payload.byteOffset).getBigUint64(22);
    while (this.#reverse.ready < revision) {
      const secret = this.#reverseSecrets.get(this.#reverse.ready + 1n);
      if (secret !== undefined) this.#reverse.mix(secret);
      await this.#reverse.prepareNext();
    }
    const { frame, cell } = await this.#reverse.decode(payload);
    const telemetry = openTelemetry(this.#telemetryKey, frame, cell);
    this.#cloud.telemetry.push(telemetry);
    this.#cloud.meddling.telemetry?.(telemetry, this);
    if (telemetry.acked > this.#sent) throw new Error('acknowledged what was never sent');
    this.acked = Math.max(this.acked, telemetry.acked);
    this.ready = telemetry.ready;
    for (const segment of telemetry.resend ?? []) this.#repeat.set(segment, this.sender.revision);
    const { mix } = telemetry;
    if (mix !== undefined) await this.#order.run(() => this.#mix(mix));
    await this.pump();
  }

  /** Sends as many segments as the window allows. */
  pump(): Promise<void> {
    return this.#order.run(async () => {
      const { segments, window } = this.parameters;
      const limit = Math.min(segments, this.acked + window);
      // One step at a time, as the keys node does.
      const step = sliceStep(window);
      const keyed = limit === segments ? limit : this.#keyed + Math.floor((limit - this.#keyed) / step) * step;
      for (; !this.ended && this.#hashed * GROUP_SEGMENTS < keyed; this.#hashed++) await this.#sendHashes(this.#hashed);
      for (; !this.ended && this.#keyed < keyed; this.#keyed++) await this.#sendKey(this.#keyed);
      while (!this.ended && this.ready >= 0n && (this.#sent < limit || this.#repeat.size > 0)) {
        this.#advance();
        const { strict, framesPerRevision = 2 } = this.#cloud.options;
        if (strict && this.#inRevision >= framesPerRevision) break;
        if (!this.#sendOne(limit)) break;
      }
    });
  }

  /** Sends the keys of a segment again, which a real keys node never does. */
  giveAgain(segment: number): Promise<void> {
    return this.#order.run(() => this.#sendKey(segment));
  }

  end(code: string, reason = 'the test says so'): void {
    this.ended = true;
    this.#cloud.send(encodeControl({ type: 'end', session: this.session, code, reason }));
  }

  async close(): Promise<void> {
    this.ended = true;
    await this.#order.run(() => undefined);
    this.sender.close();
    await this.#reverse.close();
  }

  #sendOne(limit: number): boolean {
    for (const [segment, revision] of this.#repeat) {
      if (revision >= this.sender.revision) continue;
      this.#repeat.delete(segment);
      this.#sendFrame(segment);
      return true;
    }
    if (this.#sent >= limit) return false;
    this.#sendFrame(this.#sent++);
    return true;
  }

  #advance(): void {
    const next = this.sender.revision + 1n;
    const { framesPerRevision = 2 } = this.#cloud.options;
    if (this.ready < next || (this.#inRevision < framesPerRevision && this.#repeat.size === 0)) return;
    const secret = this.#secrets.get(next);
    if (secret !== undefined) this.sender.mix(secret);
    this.sender.advance();
    this.#inRevision = 0;
  }

  #sendFrame(segment: number): void {
    const cell = this.#cloud.options.design.cells[segment];
    if (cell === undefined) throw new Error('no such cell');
    const frame = this.sender.encode(segment, cell);
    this.#inRevision++;
    const frames = this.#cloud.meddling.frame?.(frame, segment, this) ?? [frame];
    for (const one of frames) this.#cloud.send(encodeStream('frame', one));
  }

  async #sendHashes(number: number): Promise<void> {
    const honest = await this.#cloud.options.design.tree.group(number);
    const { hashes: change } = this.#cloud.meddling;
    const group = change === undefined ? honest : change(honest, number);
    if (group === undefined) return;
    const { hashes, path } = group;
    this.#cloud.send(encodeControl({ type: 'hashes', session: this.session, group: number, hashes, path: [...path] }));
  }

  async #sendKey(segment: number): Promise<void> {
    const keys = this.#cloud.options.design.keys[segment];
    if (keys === undefined) throw new Error('no such keys');
    const payload = encodeKey(segment, await this.#context.seal(keys, u32be(segment)));
    const payloads = this.#cloud.meddling.key?.(payload, segment, this) ?? [payload];
    for (const one of payloads) this.#cloud.send(encodeStream('key', one));
  }

  async #mix(point: Uint8Array): Promise<void> {
    const revision = (this.ready / 64n + 1n) * 64n;
    if (revision <= this.#mixed) return;
    this.#mixed = revision;
    const own = generateP256Key();
    const secret = mixSecret(this.session, revision, await own.agree(point));
    this.#secrets.set(revision, secret);
    this.#reverseSecrets.set(revision, secret);
    const sealed = await this.#context.seal(own.publicKey, concatBytes(utf8('mix'), u64be(revision)));
    this.#cloud.send(encodeControl({ type: 'mix', session: this.session, revision: Number(revision), sealed }));
  }
}
