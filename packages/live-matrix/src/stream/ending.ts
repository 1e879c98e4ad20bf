import { MillraceError } from '@millrace/base/core';

/** Summary of a stream whose end is proven. */
export interface LiveSummary {
  /** Bytes of data. */
  readonly bytes: bigint;
  readonly frames: number;
  /** The last revision. */
  readonly revision: bigint;
  /** Bytes of all messages in both directions, without the channel's overhead. */
  readonly wireBytes: number;
}

/** End of a live stream, for sender and receiver: the `closed` promise and the caller's signal. */
export class Ending {
  readonly closed: Promise<LiveSummary>;
  readonly #signal: AbortSignal | undefined;
  readonly #fail: (error: MillraceError) => void;
  #settle: { resolve(summary: LiveSummary): void; reject(error: unknown): void };

  /** @param fail ends the stream; called when the signal aborts */
  constructor(signal: AbortSignal | undefined, fail: (error: MillraceError) => void) {
    this.#signal = signal;
    this.#fail = fail;
    this.#settle = { resolve: () => undefined, reject: () => undefined };
    this.closed = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.closed.catch(() => undefined);
  }

  /** Listens to the signal until `release`. */
  listen(): void {
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (this.#signal?.aborted) this.#onAbort();
  }

  release(): void {
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }

  resolve(summary: LiveSummary): void {
    this.#settle.resolve(summary);
  }

  reject(error: unknown): void {
    this.#settle.reject(error);
  }

  readonly #onAbort = (): void => this.#fail(stoppedHere(this.#signal?.reason));
}

export function stoppedHere(cause: unknown): MillraceError {
  return new MillraceError('E_STREAM_STOPPED', 'the stream was stopped at this end', { cause });
}
