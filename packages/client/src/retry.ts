import { type Clock, MillraceError, sleep } from '@millrace/base';

export interface RetryOptions {
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** How long a node may be away: it is restarted within seconds. */
  readonly forMs?: number;
  readonly firstDelayMs?: number;
}

/** Whether trying the same again may help. */
export function mayPass(error: unknown): boolean {
  return error instanceof MillraceError && (error.code === 'E_UNAVAILABLE' || error.code === 'E_TIMEOUT');
}

/** Repeats what is safe to repeat while nodes do not answer. @throws whatever the last attempt threw */
export async function retrying<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { clock, signal, forMs = 30_000, firstDelayMs = 200 } = options;
  const end = clock.monotonic() + forMs;
  for (let delay = firstDelayMs; ; delay = Math.min(delay * 2, 2_000)) {
    try {
      return await attempt();
    } catch (error) {
      if (signal?.aborted || !mayPass(error) || clock.monotonic() + delay > end) throw error;
      await sleep(delay, signal);
    }
  }
}
