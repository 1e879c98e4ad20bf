import { type Closable, type Logger, sleep, toMillraceError } from '@millrace/base';
import type { DirectoryFile } from './directory-file.ts';

/** Interval at which a connected process requests a newer directory, ms. */
const ASK_MS = 30_000;
const ANSWER_MS = 10_000;

/** `directory.newest` of the typed client: the signed directory of a node, undefined when it is not newer. */
export type AskDirectory = (
  query: { readonly after: number },
  options: { readonly signal: AbortSignal | undefined; readonly timeoutMs: number },
) => Promise<unknown>;

/**
 * Fetches a directory newer than the one in the file from control or distribution, and stores it. It is trusted because
 * the administrator signed it, not because of the node that answered.
 * @returns whether there was a newer one
 * @throws {MillraceError} E_DIRECTORY when the answer is older or not signed; the errors of `ask`
 */
export async function fetchDirectory(
  ask: AskDirectory,
  file: Pick<DirectoryFile, 'sequence' | 'offer'>,
  signal?: AbortSignal,
): Promise<boolean> {
  const newest = await ask({ after: file.sequence }, { signal, timeoutMs: ANSWER_MS });
  return newest === undefined ? false : file.offer(newest);
}

/** Fetches periodically until it is closed. */
export function pollDirectory(options: {
  readonly ask: AskDirectory;
  readonly file: Pick<DirectoryFile, 'sequence' | 'offer'>;
  readonly onChange: () => void;
  readonly logger: Logger;
  readonly everyMs?: number;
}): Closable {
  const { ask, file, onChange, logger, everyMs = ASK_MS } = options;
  const stop = new AbortController();
  const run = async () => {
    while (!stop.signal.aborted) {
      await sleep(everyMs, stop.signal).catch(() => undefined);
      if (stop.signal.aborted) return;
      try {
        if (!(await fetchDirectory(ask, file, stop.signal))) continue;
        logger.info({ sequence: file.sequence }, 'directory updated over the network');
        onChange();
      } catch (error) {
        const coded = toMillraceError(error);
        if (coded.code === 'E_DIRECTORY')
          logger.error({ err: coded }, 'directory refused: a node returned an older or unsigned one');
      }
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
