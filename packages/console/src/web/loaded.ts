import { type Signal, useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';

/** The state of what a page reads from the server. An older value stays while a newer one is loaded. */
export interface Loaded<T> {
  readonly value?: T;
  readonly error?: unknown;
  /** Loads again, unless that is under way. */
  readonly again: () => void;
}

/** Loads when the page is shown, and again when `key` changes. */
export function useLoaded<T>(key: string, load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const state = useSignal<{ readonly key: string; readonly value?: T; readonly error?: unknown }>({ key });
  const turn = useSignal(0);
  const turns = turn.value;
  const busy = useRef(false);
  useEffect(() => {
    const abort = new AbortController();
    busy.current = true;
    const set = (next: { readonly value?: T; readonly error?: unknown }) => {
      if (abort.signal.aborted) return;
      busy.current = false;
      (state as Signal<unknown>).value = { key, ...next };
    };
    load(abort.signal).then(
      (value) => set({ value }),
      (error: unknown) => set(keep(state.peek(), key, error)),
    );
    return () => abort.abort();
  }, [key, turns]);
  const shown = state.value.key === key ? state.value : {};
  return {
    ...shown,
    again: () => {
      if (!busy.current) turn.value += 1;
    },
  };
}

/** After a failure, what was loaded before stays visible. */
function keep<T>(before: { readonly key: string; readonly value?: T }, key: string, error: unknown) {
  return before.key === key && before.value !== undefined ? { value: before.value, error } : { error };
}
