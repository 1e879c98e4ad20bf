/** Anything that signals can be listened to on: `process`, or a stand-in. */
export interface SignalSource {
  on(signal: NodeJS.Signals, listener: () => void): unknown;
  off(signal: NodeJS.Signals, listener: () => void): unknown;
}

export interface StopSignals {
  readonly signal: AbortSignal;
  dispose(): void;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** npm passes Ctrl-C on although the terminal has sent it already: two in a moment are one. */
const SAME_KEY_MS = 1_000;

/** Aborts on Ctrl-C, SIGTERM or SIGHUP. A second signal, after a short delay, calls `onSecondInterrupt`. */
export function stopSignals(source: SignalSource, now: () => number, onSecondInterrupt: () => void): StopSignals {
  const controller = new AbortController();
  let first: number | undefined;
  const onSignal = () => {
    if (first === undefined) {
      first = now();
      controller.abort(new Error('interrupted'));
    } else if (now() - first >= SAME_KEY_MS) {
      onSecondInterrupt();
    }
  };
  for (const name of SIGNALS) source.on(name, onSignal);
  return {
    signal: controller.signal,
    dispose: () => {
      for (const name of SIGNALS) source.off(name, onSignal);
    },
  };
}
