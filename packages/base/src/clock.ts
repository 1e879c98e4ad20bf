import { randomBytes } from 'node:crypto';
import { type Bytes, copyBytes } from './bytes.ts';

/** Wall time in milliseconds since 1970; passed in, so that tests can move it. */
export interface Clock {
  now(): number;
  /** Monotonic milliseconds, for durations. */
  monotonic(): number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};

/** Source of cryptographic randomness. */
export type RandomSource = (length: number) => Bytes;

export const systemRandom: RandomSource = (length) => copyBytes(randomBytes(length));

/** Waits, or rejects with the signal's reason as soon as it aborts. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, milliseconds);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
