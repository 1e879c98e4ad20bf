import { type Closable, type Logger, sleep, toMillraceError } from '@millrace/base';
import type { DirectoryFile } from './directory-file.ts';

/** Interval at which a connected process requests a newer directory, ms. */
const ASK_MS = 30_000;
const ANSWER_MS = 10_000;

/** Least interval between two requests, however often a node says that it has a newer directory, ms. */
const LEAST_MS = 1_000;

/** `directory.newest` of the typed client: the signed directory of a node, undefined if the caller has that document. */
export type AskDirectory = (
  query: { readonly after: number; readonly held: string },
  options: { readonly signal: AbortSignal | undefined; readonly timeoutMs: number },
) => Promise<unknown>;

/**
 * Fetches a directory newer than the one in the file from control or distribution, and stores it. It is trusted because
 * the administrator signed it; the node that answers need not be trusted.
 * @returns whether a newer directory was stored
 * @throws {MillraceError} E_DIRECTORY if the answer is older or not signed; the errors of `ask`
 */
export async function fetchDirectory(
  ask: AskDirectory,
  file: Pick<DirectoryFile, 'sequence' | 'hash' | 'offer'>,
  signal?: AbortSignal,
): Promise<boolean> {
  const newest = await ask({ after: file.sequence, held: file.hash }, { signal, timeoutMs: ANSWER_MS });
  return newest === undefined ? false : file.offer(newest);
}

/** Periodic requests for the directory. */
export interface DirectoryPolling extends Closable {
  /** Asks now if a node says that it has a directory with a higher number. */
  heard(sequence: number): void;
  /** Asks now: the connection was interrupted, and something may have been missed. */
  askNow(): void;
}

/**
 * Fetches the directory periodically until closed.
 * @param options.asks each of them is asked every time, so that a single node cannot withhold a newer directory
 */
export function pollDirectory(options: {
  readonly asks: readonly AskDirectory[];
  readonly file: Pick<DirectoryFile, 'sequence' | 'hash' | 'offer'>;
  readonly logger: Logger;
  readonly everyMs?: number;
}): DirectoryPolling {
  const { asks, file, logger, everyMs = ASK_MS } = options;
  const askers = asks.map((ask) => {
    let refused = '';
    return async (signal: AbortSignal) => {
      try {
        if (await fetchDirectory(ask, file, signal))
          logger.info({ sequence: file.sequence }, 'directory updated over the network');
        refused = '';
      } catch (error) {
        const coded = toMillraceError(error);
        // Log the error once, not at every request.
        if (coded.code === 'E_DIRECTORY' && coded.message !== refused)
          logger.error(
            { err: coded },
            'directory refused: a node has an older one, an unsigned one, or another one with the same number',
          );
        refused = coded.message;
      }
    };
  });
  const polling = poll(everyMs, async (signal) => {
    await Promise.all(askers.map((ask) => ask(signal)));
  });
  return {
    ...polling,
    heard: (sequence) => {
      if (sequence > file.sequence) polling.askNow();
    },
  };
}

/** Interval at which a process requests revocations, ms. Shorter than for directories, because a lost key is urgent. */
const ASK_REVOCATIONS_MS = 5_000;

/** `revocations.get` of the typed client: the lists that a node has, or none if the caller has the same lists. */
export type AskRevocations = (
  query: { readonly held: string },
  options: { readonly signal: AbortSignal | undefined; readonly timeoutMs: number },
) => Promise<readonly Uint8Array[]>;

/**
 * Requests lists of revoked keys from a node and accepts those that are newer. They are trusted by their signatures;
 * the node that answers need not be trusted. Older lists change nothing.
 * @returns the number of newer lists
 */
export async function fetchRevocations(
  ask: AskRevocations,
  file: Pick<DirectoryFile, 'revocations' | 'offerRevocations'>,
  logger: Logger,
  signal?: AbortSignal,
): Promise<number> {
  const lists = await ask({ held: file.revocations.digest() }, { signal, timeoutMs: ANSWER_MS });
  let taken = 0;
  for (const list of lists) {
    try {
      if (await file.offerRevocations(list)) taken++;
    } catch (error) {
      const coded = toMillraceError(error);
      if (coded.code !== 'E_CONFLICT') logger.warn({ err: coded }, 'list of revoked keys refused');
    }
  }
  return taken;
}

/** Fetches revocations at once, then periodically until closed. */
export function pollRevocations(options: {
  readonly ask: AskRevocations;
  readonly file: Pick<DirectoryFile, 'revocations' | 'offerRevocations'>;
  readonly logger: Logger;
  readonly everyMs?: number;
}): Closable {
  const { ask, file, logger, everyMs = ASK_REVOCATIONS_MS } = options;
  const update = async (signal: AbortSignal) => {
    try {
      const taken = await fetchRevocations(ask, file, logger, signal);
      if (taken > 0) logger.info({ lists: taken }, 'revoked keys updated over the network');
    } catch (error) {
      const coded = toMillraceError(error);
      if (!coded.retryable) logger.warn({ err: coded }, 'cannot ask for revoked keys: trying again');
    }
  };
  return poll(everyMs, update, true);
}

function poll(
  everyMs: number,
  ask: (signal: AbortSignal) => Promise<void>,
  atOnce = false,
): Closable & { askNow(): void } {
  const stop = new AbortController();
  let wake = new AbortController();
  const pause = (ms: number, ...signals: AbortSignal[]) =>
    sleep(ms, AbortSignal.any([stop.signal, ...signals])).catch(() => undefined);
  const run = async () => {
    if (atOnce) await ask(stop.signal);
    while (!stop.signal.aborted) {
      await pause(everyMs, wake.signal);
      if (stop.signal.aborted) return;
      if (wake.signal.aborted) wake = new AbortController();
      await ask(stop.signal);
      await pause(Math.min(LEAST_MS, everyMs));
    }
  };
  const running = run();
  return {
    askNow: () => wake.abort(),
    close: async () => {
      stop.abort();
      await running;
    },
  };
}
