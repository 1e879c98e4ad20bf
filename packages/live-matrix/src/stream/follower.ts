import type { Receiver } from '../frame-receiver.ts';

/** Fresh Diffie-Hellman secrets that have arrived. */
export interface FollowerMixes {
  /** Whether `revision` can begin: it needs no fresh secret, or its secret has arrived. */
  has(revision: bigint): boolean;
  /** Mixes the secret that `revision` needs into the ratchet. */
  apply(revision: bigint, ratchet: { mix(secret: Uint8Array): void }): void;
}

/**
 * Advances a receiver to the next revision. A receiver holds two tables, and preparing a third erases the oldest. So
 * the next table is begun only after a genuine frame of the newest revision has arrived and while no frame of the older
 * one is being decoded. The channel preserves order, so no older frame follows.
 */
export class Follower {
  readonly #receiver: Receiver;
  readonly #mixes: FollowerMixes;
  readonly #now: () => number;
  readonly #onReady: (tableMs: number) => void;
  readonly #onFailed: (error: unknown) => void;
  /** Frames being decoded, by revision. */
  readonly #pending = new Map<bigint, number>();
  #newest = -1n;
  /** Start time of the table under construction. */
  #began: number | undefined;
  #closed = false;

  constructor(options: {
    readonly receiver: Receiver;
    readonly mixes: FollowerMixes;
    /** Monotonic milliseconds. */
    now(): number;
    /** Called when a table is ready, with the time it took. */
    onReady(tableMs: number): void;
    onFailed(error: unknown): void;
  }) {
    this.#receiver = options.receiver;
    this.#mixes = options.mixes;
    this.#now = () => options.now();
    this.#onReady = options.onReady;
    this.#onFailed = options.onFailed;
  }

  /** Milliseconds since the table under construction was begun; 0 if there is none. */
  get preparingMs(): number {
    return this.#began === undefined ? 0 : this.#now() - this.#began;
  }

  /** A frame that claims this revision is about to be decoded. */
  arrived(revision: bigint): void {
    this.#pending.set(revision, (this.#pending.get(revision) ?? 0) + 1);
  }

  /** A frame was decoded; `genuine` if its MAC was valid. */
  settled(revision: bigint, genuine: boolean): void {
    const left = (this.#pending.get(revision) ?? 1) - 1;
    if (left === 0) this.#pending.delete(revision);
    else this.#pending.set(revision, left);
    if (genuine && revision > this.#newest) this.#newest = revision;
    this.advance();
  }

  /** Begins the next table if possible. Also called when the secret of a mix has arrived. */
  advance(): void {
    const { ready } = this.#receiver;
    if (this.#closed || this.#began !== undefined || this.#newest < ready || !this.#mixes.has(ready + 1n)) return;
    for (const revision of this.#pending.keys()) if (revision < ready) return;
    this.#began = this.#now();
    void this.#prepare(ready + 1n, this.#began);
  }

  close(): void {
    this.#closed = true;
  }

  async #prepare(revision: bigint, began: number): Promise<void> {
    try {
      this.#mixes.apply(revision, this.#receiver);
      await this.#receiver.prepareNext();
    } catch (error) {
      if (!this.#closed) this.#onFailed(error);
      return;
    }
    this.#began = undefined;
    if (this.#closed) return;
    this.#onReady(this.#now() - began);
    this.advance();
  }
}
