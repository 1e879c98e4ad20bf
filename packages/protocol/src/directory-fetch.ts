import { type Closable, type Logger, sleep, toMillraceError } from '@millrace/base';
import type { DirectoryFile } from './directory-file.ts';

/** Interval at which a connected process requests a newer directory, ms. */
const ASK_MS = 30_000;
const ANSWER_MS = 10_000;

/** `directory.newest` of the typed client: the signed directory of a node, undefined if it is not newer. */
export type AskDirectory = (
  query: { readonly after: number },
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
  file: Pick<DirectoryFile, 'sequence' | 'offer'>,
  signal?: AbortSignal,
): Promise<boolean> {
  const newest = await ask({ after: file.sequence }, { signal, timeoutMs: ANSWER_MS });
  return newest === undefined ? false : file.offer(newest);
}

/** Fetches the directory periodically until closed. */
export function pollDirectory(options: {
  readonly ask: AskDirectory;
  readonly file: Pick<DirectoryFile, 'sequence' | 'offer'>;
  readonly onChange: () => void;
  readonly logger: Logger;
  readonly everyMs?: number;
}): Closable {
  const { ask, file, onChange, logger, everyMs = ASK_MS } = options;
  return poll(everyMs, async (signal) => {
    try {
      if (!(await fetchDirectory(ask, file, signal))) return;
      logger.info({ sequence: file.sequence }, 'directory updated over the network');
      onChange();
    } catch (error) {
      const coded = toMillraceError(error);
      if (coded.code === 'E_DIRECTORY')
        logger.error({ err: coded }, 'directory refused: a node returned an older or unsigned one');
    }
  });
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

function poll(everyMs: number, ask: (signal: AbortSignal) => Promise<void>, atOnce = false): Closable {
  const stop = new AbortController();
  const run = async () => {
    if (atOnce) await ask(stop.signal);
    while (!stop.signal.aborted) {
      await sleep(everyMs, stop.signal).catch(() => undefined);
      if (!stop.signal.aborted) await ask(stop.signal);
    }
  };
  const running = run();
  return {
    close: async () => {
      stop.abort();
      await running;
    },
  };
}
