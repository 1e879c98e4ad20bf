import { type Bytes, copyBytes, MillraceError, wipe } from '@millrace/base';
import { hold } from '@millrace/live-matrix';
import type { StreamParameters } from '@millrace/protocol';
import { CONTENT_BYTES, type ContentMac, type OuterLayer, openCell, startContentMac } from './cell.ts';
import type { PrintJournal } from './journal.ts';
import type { Design } from './licensed-design.ts';
import type { AgentParts } from './parts.ts';
import type { PrintProgress } from './progress.ts';

/** A received segment, still sealed, with its keys: k_e(32) ‖ CEK(32). */
interface Got {
  readonly cell: Bytes;
  /** SHA-256 of the sealed segment, from the owner's commitment. */
  readonly hash: Uint8Array;
  /** Allocated in memory for secrets. */
  readonly keys: Uint8Array;
}

/** What the feed needs to know of a design to open its segments. */
export type FeedParameters = Pick<StreamParameters, 'segments' | 'size' | 'designNonce'> & {
  readonly layer: OuterLayer;
};

/** State common to all sessions of a print, known from the first one on. */
interface Opened {
  readonly parameters: FeedParameters;
  readonly designId: string;
  /** The design secret, in memory for secrets until the print ends. */
  readonly secret: Uint8Array;
}

/**
 * Passes segments to the machine in order, opening one at a time. It outlives the sessions, so the machine continues
 * with buffered segments while the cloud is unreachable. Every buffer is wiped right after use.
 */
export class Feed {
  readonly #parts: Pick<AgentParts, 'driver' | 'operator' | 'points' | 'secrets'>;
  readonly #progress: PrintProgress;
  readonly #journal: PrintJournal;
  readonly #queue: Got[] = [];
  readonly #listeners = new Set<() => void>();
  readonly #stop = new AbortController();
  #opened: Opened | undefined;
  #wake: () => void = () => undefined;
  #mac: ContentMac | undefined;
  #settle: { resolve(mac: Bytes): void; reject(error: unknown): void } = {
    resolve: () => undefined,
    reject: () => undefined,
  };
  /**
   * Resolves with the design's MAC once the machine has executed all of it. Rejects with the cause of a stop, after the
   * machine was cancelled.
   */
  readonly done: Promise<Bytes>;

  constructor(
    parts: Pick<AgentParts, 'driver' | 'operator' | 'points' | 'secrets'>,
    { progress, journal }: { readonly progress: PrintProgress; readonly journal: PrintJournal },
  ) {
    this.#parts = parts;
    this.#progress = progress;
    this.#journal = journal;
    this.done = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.done.catch(() => undefined); // handled by the callers that await it; there may be none yet
  }

  /**
   * Begins a session. The first one determines the design; every later session must be for the same design.
   * @param secret the design secret, 32 bytes; copied
   * @throws {MillraceError} E_PERMIT if the session is for another design
   */
  open(parameters: FeedParameters, { designId }: Design, secret: Uint8Array): void {
    this.#stop.signal.throwIfAborted();
    if (this.#opened !== undefined) {
      if (this.#opened.designId !== designId)
        throw new MillraceError('E_PERMIT', 'the offered stream is of another design than the one that was begun');
      return;
    }
    const opened = { parameters, designId, secret: hold(this.#parts.secrets, copyBytes(secret)) };
    this.#opened = opened;
    this.#progress.segments = parameters.segments;
    this.#run(opened).then(this.#settle.resolve, this.#settle.reject);
  }

  /** Adds the next segment and its expected hash. The feed takes ownership of cell and keys. */
  push(cell: Bytes, keys: Uint8Array, hash: Uint8Array): void {
    this.#progress.got++;
    if (this.#stop.signal.aborted) return this.#wipe({ cell, keys });
    this.#queue.push({ cell, keys, hash });
    this.#wake();
  }

  /** Calls `listener` after each segment that the machine has taken. @returns a function that unsubscribes */
  onTaken(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Stops immediately: wipes buffered segments and cancels the machine's run. */
  abort(error: unknown): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort(error);
    for (const got of this.#queue.splice(0)) this.#wipe(got);
    this.#wake();
    if (this.#opened === undefined) this.#settle.reject(error);
  }

  async #run(opened: Opened): Promise<Bytes> {
    const { driver, secrets } = this.#parts;
    const { signal } = this.#stop;
    const progress = this.#progress;
    try {
      while (!progress.isTaken) await this.#handOn(opened, await this.#next());
      progress.state = 'finishing';
      await driver.drain(signal);
      signal.throwIfAborted();
      progress.state = 'done';
      return this.#macOf().digest();
    } catch (error) {
      this.abort(error);
      await driver.cancel().catch(() => undefined); // the driver may have failed already
      throw signal.reason;
    } finally {
      secrets.give(opened.secret);
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

  async #handOn({ parameters, secret }: Opened, { cell, keys, hash }: Got): Promise<void> {
    const { driver, points, secrets } = this.#parts;
    const { signal } = this.#stop;
    const number = this.#progress.taken;
    let content: Uint8Array;
    try {
      const opened = await openCell({
        layer: parameters.layer,
        points,
        cell,
        keys,
        hash,
        designSecret: secret,
        designNonce: parameters.designNonce,
        number,
        final: number === parameters.segments - 1,
      });
      content = hold(secrets, opened);
      if (number === 0) this.#mac = startContentMac(keys, secret);
    } finally {
      this.#wipe({ cell, keys });
    }
    const executable = content.subarray(0, Math.min(CONTENT_BYTES, parameters.size - number * CONTENT_BYTES));
    try {
      if (number === 0) await this.#begin();
      signal.throwIfAborted();
      await driver.write(executable, signal);
      this.#macOf().update(executable);
    } finally {
      secrets.give(content);
    }
    this.#progress.took(executable.length);
    this.#journal.took();
    for (const listener of [...this.#listeners]) listener();
  }

  /** Records that the object begins, before the first byte reaches the machine. */
  async #begin(): Promise<void> {
    const { driver, operator } = this.#parts;
    await operator.whenFree(this.#stop.signal);
    const { odometer } = driver.telemetry();
    await this.#journal.starting();
    await operator.whenFree(this.#stop.signal); // the operator may have paused the machine during the write
    await driver.begin();
    await operator.begun();
    this.#progress.state = 'running';
    await this.#journal.started(odometer);
  }

  #wipe({ cell, keys }: Pick<Got, 'cell' | 'keys'>): void {
    wipe(cell);
    this.#parts.secrets.give(keys);
  }

  #macOf(): ContentMac {
    if (this.#mac === undefined) throw new Error('the first segment has not come');
    return this.#mac;
  }
}
