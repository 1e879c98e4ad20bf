import { sleep } from './clock.ts';
import { MillraceError } from './errors.ts';

/** What Node and the operating system say of a connection that may work later. */
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

/** Whether the same may succeed later without anybody's doing: what our codes say, or a connection that failed. */
export function isTransient(error: unknown): boolean {
  if (error instanceof MillraceError) return error.retryable;
  return error instanceof Error && 'code' in error && networkCodes.has(error.code);
}

export interface BackoffOptions {
  /** Longest delay before the second attempt, ms. */
  readonly firstMs: number;
  /** Longest delay ever, ms. */
  readonly mostMs: number;
  /** 0 ≤ n < 1; in tests. */
  readonly random?: () => number;
}

/**
 * Delays with full jitter: each is uniform between 0 and a limit that doubles, so that those who failed together do not
 * come back together.
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

  /** After a success. */
  reset(): void {
    this.#limit = this.#options.firstMs;
  }
}

export interface RetryOptions {
  /** No attempt begins later than so many ms after the first; without it, only `signal` ends the attempts. */
  readonly forMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly firstMs?: number;
  readonly mostMs?: number;
  readonly random?: () => number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
  /** Which errors are worth another attempt; transient ones unless told. */
  readonly when?: (error: unknown) => boolean;
  /** Told of every error that is followed by another attempt. */
  readonly onRetry?: (error: unknown, delayMs: number) => void;
}

/**
 * Repeats what is safe to repeat until it succeeds.
 * @throws what the last attempt threw; the signal's reason when it aborts before an attempt
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
