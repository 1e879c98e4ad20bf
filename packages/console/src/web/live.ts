import { MillraceError } from '@millrace/base';
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { type Loaded, useLoaded } from './loaded.ts';
import { session } from './session.ts';

/** Interval between two readings of a page that is looked at, ms. */
const EVERY_MS = 2_000;
/** A value older than this is shown as stale, ms. */
export const STALE_MS = 10_000;

export interface Live<T> extends Loaded<T> {
  /** Age of the value, ms. */
  readonly age: number;
}

/** Reads again and again while the page is looked at, and knows how old the last answer is. */
export function useLive<T>(key: string, load: (signal: AbortSignal) => Promise<T>): Live<T> {
  const read = useSignal(Date.now());
  const now = useSignal(Date.now());
  const loaded = useLoaded(key, async (signal) => {
    const value = await load(signal).catch((error: unknown) => {
      // The session has ended, for example because control was started again.
      if (error instanceof MillraceError && error.code === 'E_AUTH') void session.check();
      throw error;
    });
    read.value = Date.now();
    return value;
  });
  const { again } = loaded;
  useEffect(() => {
    const timer = setInterval(() => {
      now.value = Date.now();
      if (document.visibilityState === 'visible') again();
    }, EVERY_MS);
    return () => clearInterval(timer);
  }, [key]);
  return { ...loaded, age: Math.max(0, now.value - read.value) };
}
