import { type Bytes, copyBytes, wipe } from '@millrace/base';
import { hold, type SecretMemory } from '@millrace/live-matrix';
import type { StreamParameters } from '@millrace/protocol';
import type { PointsEngine } from '@millrace/vault';
import type { Driver } from '../drivers/contract.ts';
import type { Design } from './design.ts';
import { CONTENT_BYTES, type ContentMac, openCell, startContentMac } from './segment.ts';

/** A segment that has come, still sealed, with its keys: k_e(32) ‖ CEK(32). */
interface Got {
  readonly cell: Bytes;
  /** SHA-256 of the sealed segment, to which the owner committed. */
  readonly hash: Uint8Array;
  /** In memory for secrets. */
  readonly keys: Uint8Array;
}

export interface FeedOptions {
  readonly driver: Driver;
  readonly parameters: StreamParameters;
  readonly design: Design;
  /** The design secret, 32 bytes: copied. */
  readonly secret: Uint8Array;
  readonly points: PointsEngine;
  /** Keys that are pushed come from here, and opened segments go here. */
  readonly secrets: SecretMemory;
  /** Called, and waited for, before the first byte reaches the machine. */
  onStart(): Promise<void>;
  /** The machine has taken everything and executes what it has. */
  onDrain(): void;
}

/**
 * Hands segments to the machine, in order, one opened at a time; outlives the sessions that bring them, so that the machine
 * goes on with what is buffered while the cloud is away. Every buffer is wiped as soon as it has been used.
 */
export class Feed {
  readonly #options: FeedOptions;
  /** In memory for secrets, until the print ends. */
  readonly #secret: Uint8Array;
  readonly #queue: Got[] = [];
  readonly #listeners = new Set<() => void>();
  readonly #stop = new AbortController();
  #wake: () => void = () => undefined;
  #mac: ContentMac | undefined;
  #got = 0;
  #taken = 0;
  #bytes = 0;
  /** The design's MAC when the machine has executed all of it; fails with what stopped it, the machine then cancelled. */
  readonly done: Promise<Bytes>;

  constructor(options: FeedOptions) {
    this.#options = options;
    this.#secret = hold(options.secrets, copyBytes(options.secret));
    this.done = this.#run();
    this.done.catch(() => undefined); // whoever waits for it is told; nobody may be waiting yet
  }

  /** Identifier of the design. */
  get design(): string {
    return this.#options.design.designId;
  }

  /** Segments that have come: every one below this number. */
  get got(): number {
    return this.#got;
  }

  /** Segments that the machine has taken. */
  get taken(): number {
    return this.#taken;
  }

  /** Bytes of the design that the machine has taken. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The next segment, and what it has to be; cell and keys now belong to the feed. */
  push(cell: Bytes, keys: Uint8Array, hash: Uint8Array): void {
    this.#got++;
    if (this.#stop.signal.aborted) return this.#wipe({ cell, keys });
    this.#queue.push({ cell, keys, hash });
    this.#wake();
  }

  /** Called after each segment that the machine has taken; the result ends it. */
  onTaken(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Stops now: what is buffered is wiped, and the machine is told to drop what it has. */
  abort(error: unknown): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort(error);
    for (const got of this.#queue.splice(0)) this.#wipe(got);
    this.#wake();
  }

  async #run(): Promise<Bytes> {
    const { driver, parameters } = this.#options;
    const { signal } = this.#stop;
    try {
      while (this.#taken < parameters.segments) await this.#handOn(await this.#next());
      this.#options.onDrain();
      await driver.drain(signal);
      signal.throwIfAborted();
      return this.#macOf().digest();
    } catch (error) {
      this.abort(error);
      await driver.cancel().catch(() => undefined); // it may have failed already
      throw signal.reason;
    } finally {
      this.#options.secrets.give(this.#secret);
    }
  }

  async #next(): Promise<Got> {
    for (;;) {
      this.#stop.signal.throwIfAborted();
      const next = this.#queue.shift();
      if (next !== undefined) return next;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async #handOn({ cell, keys, hash }: Got): Promise<void> {
    const { driver, parameters, points, secrets, onStart } = this.#options;
    const number = this.#taken;
    let content: Uint8Array;
    try {
      const opened = await openCell({
        layer: parameters.layer,
        points,
        cell,
        keys,
        hash,
        designSecret: this.#secret,
        designNonce: parameters.designNonce,
        number,
        final: number === parameters.segments - 1,
      });
      content = hold(secrets, opened);
      if (number === 0) this.#mac = startContentMac(keys, this.#secret);
    } finally {
      this.#wipe({ cell, keys });
    }
    const executable = content.subarray(0, Math.min(CONTENT_BYTES, parameters.size - number * CONTENT_BYTES));
    try {
      if (number === 0) await onStart();
      this.#stop.signal.throwIfAborted();
      await driver.write(executable, this.#stop.signal);
      this.#macOf().update(executable);
    } finally {
      secrets.give(content);
    }
    this.#taken++;
    this.#bytes += executable.length;
    for (const listener of [...this.#listeners]) listener();
  }

  #wipe({ cell, keys }: Pick<Got, 'cell' | 'keys'>): void {
    wipe(cell);
    this.#options.secrets.give(keys);
  }

  #macOf(): ContentMac {
    if (this.#mac === undefined) throw new Error('the first segment has not come');
    return this.#mac;
  }
}
