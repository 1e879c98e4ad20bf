/** A source of signals: `process`, or a stand-in for tests. */
export interface SignalSource {
  on(signal: NodeJS.Signals, listener: () => void): unknown;
  off(signal: NodeJS.Signals, listener: () => void): unknown;
}

export interface StopSignals {
  readonly signal: AbortSignal;
  dispose(): void;
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** npm forwards Ctrl-C although the terminal has already sent it: two within this time count as one. */
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
