import { MillraceError } from '@millrace/base';
import type { ChangeKind } from '@millrace/protocol/shapes';
import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { events } from './events.ts';
import { type Loaded, useLoaded } from './loaded.ts';
import { session } from './session.ts';

/** Interval between two looks at the clock, and between two readings without a stream of events, ms. */
const EVERY_MS = 2_000;
/** With a stream, a page is read again after this time although nothing has changed, ms. */
const SELDOM_MS = 60_000;
/** Changes that come together are read once, ms. */
const TOGETHER_MS = 300;
/** A value older than this is shown as stale, ms. */
export const STALE_MS = 10_000;

export interface Live<T> extends Loaded<T> {
  /** Age of the value, ms: since it was read, or since the stream of events said that it has not changed. */
  readonly age: number;
  /** Time since the value was read, ms. What it says of ages was right then. */
  readonly sinceRead: number;
}

/**
 * Keeps what a page reads up to date while the page is looked at: by the stream of events, or by reading again and
 * again while there is none.
 * @param kinds what the page shows; default: everything
 */
export function useLive<T>(
  key: string,
  load: (signal: AbortSignal) => Promise<T>,
  kinds?: readonly ChangeKind[],
): Live<T> {
  const read = useRef(Date.now());
  const confirmed = useSignal(Date.now());
  const now = useSignal(Date.now());
  /** Something has changed since the last reading began, or it has failed. */
  const dirty = useRef(false);
  const loaded = useLoaded(key, async (signal) => {
    dirty.current = false;
    const value = await load(signal).catch((error: unknown) => {
      dirty.current = true;
      // The session has ended, for example because control was started again.
      if (error instanceof MillraceError && error.code === 'E_AUTH') void session.check();
      throw error;
    });
    read.current = Date.now();
    confirmed.value = Date.now();
    return value;
  });
  const again = useRef(loaded.again);
  again.current = loaded.again;
  useEffect(() => {
    let soon: ReturnType<typeof setTimeout> | undefined;
    const readSoon = () => {
      soon ??= setTimeout(() => {
        soon = undefined;
        if (dirty.current && document.visibilityState === 'visible') again.current();
      }, TOGETHER_MS);
    };
    const unlisten = events.listen((told) => {
      if (told.type === 'beat') {
        if (!dirty.current) confirmed.value = Date.now();
        return;
      }
      if (told.type === 'changed' && kinds !== undefined && !kinds.includes(told.kind)) return;
      dirty.current = true;
      readSoon();
    });
    const timer = setInterval(() => {
      now.value = Date.now();
      if (document.visibilityState !== 'visible') return;
      if (dirty.current || !events.live || now.value - read.current > SELDOM_MS) again.current();
    }, EVERY_MS);
    return () => {
      unlisten();
      clearTimeout(soon);
      clearInterval(timer);
    };
  }, [key]);
  const since = (time: number) => Math.max(0, now.value - time);
  return { ...loaded, age: since(confirmed.value), sinceRead: since(read.current) };
}
