import type { Clock } from '@millrace/base';
import type { Receiver } from '@millrace/live-matrix';
import type { Mixes } from './mixes.ts';

/**
 * Moves the receiver on. The receiver holds the tables of two revisions; preparing a third one erases the older. So the
 * next is begun when a genuine frame of the newest has come and no frame of the older is still being decoded.
 */
export class RevisionClock {
  readonly #receiver: Receiver;
  readonly #mixes: Mixes;
  readonly #clock: Clock;
  readonly #onReady: (tableMs: number) => void;
  readonly #onFailed: (error: unknown) => void;
  /** Frames being decoded, by revision. */
  readonly #pending = new Map<bigint, number>();
  #newest = -1n;
  #preparing = false;
  #closed = false;

  constructor(options: {
    receiver: Receiver;
    mixes: Mixes;
    clock: Clock;
    /** A table is ready; it took so many milliseconds. */
    onReady(tableMs: number): void;
    onFailed(error: unknown): void;
  }) {
    this.#receiver = options.receiver;
    this.#mixes = options.mixes;
    this.#clock = options.clock;
    this.#onReady = options.onReady;
    this.#onFailed = options.onFailed;
  }

  /** A frame claims this revision and is going to be decoded. */
  arrived(revision: bigint): void {
    this.#pending.set(revision, (this.#pending.get(revision) ?? 0) + 1);
  }

  /** It has been decoded, or not; `genuine` when its MAC held. */
  settled(revision: bigint, genuine: boolean): void {
    const left = (this.#pending.get(revision) ?? 1) - 1;
    if (left === 0) this.#pending.delete(revision);
    else this.#pending.set(revision, left);
    if (genuine && revision > this.#newest) this.#newest = revision;
    this.advance();
  }

  /** Begins the next table if it is time; called again when the secret of a mix has come. */
  advance(): void {
    const { ready } = this.#receiver;
    if (this.#closed || this.#preparing || this.#newest < ready || !this.#mixes.has(ready + 1n)) return;
    for (const revision of this.#pending.keys()) if (revision < ready) return;
    this.#preparing = true;
    void this.#prepare(ready + 1n);
  }

  close(): void {
    this.#closed = true;
  }

  async #prepare(revision: bigint): Promise<void> {
    const began = this.#clock.monotonic();
    try {
      this.#mixes.apply('forward', revision, this.#receiver);
      await this.#receiver.prepareNext();
    } catch (error) {
      if (!this.#closed) this.#onFailed(error);
      return;
    }
    this.#preparing = false;
    if (this.#closed) return;
    this.#onReady(this.#clock.monotonic() - began);
    this.advance();
  }
}
