import { type Bytes, copyBytes, MillraceError, wipe } from '@millrace/base';
import { hold } from '@millrace/live-matrix';
import type { StreamParameters } from '@millrace/protocol';
import { CONTENT_BYTES, type ContentMac, openCell, startContentMac } from './cell.ts';
import type { PrintJournal } from './journal.ts';
import type { Design } from './licensed-design.ts';
import type { AgentParts } from './parts.ts';
import type { PrintProgress } from './progress.ts';

/** A segment that has come, still sealed, with its keys: k_e(32) ‖ CEK(32). */
interface Got {
  readonly cell: Bytes;
  /** SHA-256 of the sealed segment, to which the owner committed. */
  readonly hash: Uint8Array;
  /** In memory for secrets. */
  readonly keys: Uint8Array;
}

/** What the sessions of a print have in common, known from the first one on. */
interface Opened {
  readonly parameters: StreamParameters;
  readonly designId: string;
  /** The design secret, in memory for secrets, until the print ends. */
  readonly secret: Uint8Array;
}

/**
 * Hands segments to the machine, in order, one opened at a time. It outlives the sessions that bring them, so that the
 * machine goes on with what is buffered while the cloud is away. Every buffer is wiped as soon as it has been used.
 */
export class Feed {
  readonly #parts: Pick<AgentParts, 'driver' | 'points' | 'secrets'>;
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
  /** The design's MAC when the machine has executed all of it; fails with what stopped it, the machine then cancelled. */
  readonly done: Promise<Bytes>;

  constructor(
    parts: Pick<AgentParts, 'driver' | 'points' | 'secrets'>,
    { progress, journal }: { readonly progress: PrintProgress; readonly journal: PrintJournal },
  ) {
    this.#parts = parts;
    this.#progress = progress;
    this.#journal = journal;
    this.done = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.done.catch(() => undefined); // whoever waits for it is told; nobody may be waiting yet
  }

  /**
   * A session is open. The first one says which design is made; every later one has to be for the same.
   * @param secret the design secret, 32 bytes: copied
   * @throws {MillraceError} E_PERMIT when the session is for another design
   */
  open(parameters: StreamParameters, { designId }: Design, secret: Uint8Array): void {
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

  /** The next segment, and what it has to be; cell and keys now belong to the feed. */
  push(cell: Bytes, keys: Uint8Array, hash: Uint8Array): void {
    this.#progress.got++;
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
      await driver.cancel().catch(() => undefined); // it may have failed already
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

  /** Before the first byte reaches the machine, it is on record that the object begins. */
  async #begin(): Promise<void> {
    const { driver } = this.#parts;
    const { odometer } = driver.telemetry();
    await this.#journal.starting();
    await driver.begin();
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
