import { sleep } from './clock.ts';
import { MillraceError } from './errors.ts';

/** Codes of Node and the operating system for connection failures that may be temporary. */
const networkCodes: ReadonlySet<unknown> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'EAI_AGAIN',
  'UND_ERR_SOCKET',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** Whether a retry may succeed without intervention: by the error code, or because a connection failed. */
export function isTransient(error: unknown): boolean {
  if (error instanceof MillraceError) return error.retryable;
  return error instanceof Error && 'code' in error && networkCodes.has(error.code);
}

export interface BackoffOptions {
  /** Maximum delay before the second attempt, ms. */
  readonly firstMs: number;
  /** Maximum delay, ms. */
  readonly mostMs: number;
  /** 0 ≤ n < 1; for tests. */
  readonly random?: () => number;
}

/**
 * Delays with full jitter: each is uniform between 0 and a limit that doubles, so that clients that failed together do
 * not retry together.
 */
export class Backoff {
  readonly #options: BackoffOptions;
  #limit: number;

  constructor(options: BackoffOptions) {
    this.#options = options;
    this.#limit = options.firstMs;
  }

  /** The delay before the next attempt, ms. */
  next(): number {
    const { mostMs, random = Math.random } = this.#options;
    const delay = random() * this.#limit;
    this.#limit = Math.min(this.#limit * 2, mostMs);
    return delay;
  }

  /** Call this after a success. */
  reset(): void {
    this.#limit = this.#options.firstMs;
  }
}

export interface RetryOptions {
  /** No attempt begins more than this time after the first, ms. If undefined, only `signal` ends the attempts. */
  readonly forMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly firstMs?: number;
  readonly mostMs?: number;
  readonly random?: () => number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
  /** Errors worth another attempt. Default: transient ones. */
  readonly when?: (error: unknown) => boolean;
  /** Called for every error that is followed by another attempt. */
  readonly onRetry?: (error: unknown, delayMs: number) => void;
}

/**
 * Repeats an idempotent operation until it succeeds.
 * @throws the error of the last attempt; the signal's reason if it aborts before an attempt
 */
export async function retry<T>(attempt: () => Promise<T>, options: RetryOptions = {}): Promise<T> {
  const { forMs = Number.POSITIVE_INFINITY, signal, firstMs = 200, mostMs = 5_000 } = options;
  const { now = () => performance.now(), when = isTransient } = options;
  const backoff = new Backoff({ firstMs, mostMs, ...(options.random && { random: options.random }) });
  const end = now() + forMs;
  for (;;) {
    signal?.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      const delay = backoff.next();
      if (signal?.aborted || !when(error) || now() + delay > end) throw error;
      options.onRetry?.(error, delay);
      await sleep(delay, signal);
    }
  }
}
