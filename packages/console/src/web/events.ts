import { type ChangeEvent, consoleRoutes } from '@millrace/api';
import { effect } from '@preact/signals';
import { session } from './session.ts';

// One stream of events for all tabs of this browser: the tab that holds a lock reads it, and tells the others. Browsers
// allow few connections to a server, and the server few streams of a person.

const NAME = 'millrace-events';
/** Without a message for this time, the stream is not there. The server sends a beat every five seconds. */
const SILENT_MS = 12_000;
/** Pause before a stream that the server has refused is opened again, ms. */
const AGAIN_MS = 5_000;

/** `reset`: changes may have been missed. `beat`: nothing else has changed. */
export type Told =
  | (ChangeEvent & { readonly type: 'changed' })
  | { readonly type: 'reset' }
  | { readonly type: 'beat' };

const listeners = new Set<(told: Told) => void>();
let heard = Number.NEGATIVE_INFINITY;

function take(told: Told): void {
  heard = Date.now();
  for (const listener of listeners) listener(told);
}

export const events = {
  /** When the stream was last heard, ms since 1970. */
  get heard(): number {
    return heard;
  },
  /** Whether changes are told, so that nothing has to be read again to see that nothing has changed. */
  get live(): boolean {
    return Date.now() - heard < SILENT_MS;
  },
  /** @returns how to end it */
  listen(listener: (told: Told) => void): () => void {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
};

/** Opens the stream whenever the browser does not do it by itself. */
function read(tell: (told: Told) => void, signal: AbortSignal): void {
  if (signal.aborted) return;
  const source = new EventSource(consoleRoutes.events.stream.path);
  let timer: ReturnType<typeof setTimeout> | undefined;
  source.addEventListener('changed', ({ data }) => {
    const { kind, id } = JSON.parse(data as string) as ChangeEvent;
    tell({ type: 'changed', kind, id });
  });
  source.addEventListener('reset', () => tell({ type: 'reset' }));
  source.addEventListener('beat', () => tell({ type: 'beat' }));
  source.onerror = () => {
    // The browser connects again by itself, and names its last event, unless the server has refused it.
    if (source.readyState !== EventSource.CLOSED || timer !== undefined) return;
    timer = setTimeout(() => read(tell, signal), AGAIN_MS);
    void session.check();
  };
  signal.addEventListener(
    'abort',
    () => {
      clearTimeout(timer);
      source.close();
    },
    { once: true },
  );
}

/** Takes part in the shared stream. @returns how to leave */
function join(): () => void {
  const channel = new BroadcastChannel(NAME);
  channel.onmessage = ({ data }) => take(data as Told);
  const left = new AbortController();
  const tell = (told: Told) => {
    channel.postMessage(told);
    take(told);
  };
  // The lock is given to the next tab when this one leaves or is closed.
  navigator.locks
    .request(NAME, { signal: left.signal }, () => {
      read(tell, left.signal);
      return new Promise<void>((resolve) => left.signal.addEventListener('abort', () => resolve(), { once: true }));
    })
    .catch(() => undefined); // left before its turn
  return () => {
    left.abort();
    channel.close();
    heard = Number.NEGATIVE_INFINITY;
  };
}

const isSupported = 'locks' in navigator && 'BroadcastChannel' in globalThis && 'EventSource' in globalThis;

/** Follows the session: another person's changes are another stream. */
export function followEvents(): void {
  if (!isSupported) return;
  let key: string | undefined;
  let leave: (() => void) | undefined;
  effect(() => {
    const now = session.view.value?.key;
    if (now === key) return;
    key = now;
    leave?.();
    leave = now === undefined ? undefined : join();
  });
}
