import { type Closable, type Logger, sleep, toMillraceError } from '@millrace/base';
import type { DirectoryFile } from './directory-file.ts';

/** How often a process that has a connection to the installation asks for a newer directory. */
const ASK_MS = 30_000;
const ANSWER_MS = 10_000;

/** `directory.newest` of the typed client: the signed directory of a node, undefined when it is not newer. */
export type AskDirectory = (
  query: { readonly after: number },
  options: { readonly signal: AbortSignal | undefined; readonly timeoutMs: number },
) => Promise<unknown>;

/**
 * Asks control or distribution for a directory that is newer than the one in the file, and takes it. The administrator's
 * signature counts, not who answered.
 * @returns whether there was a newer one
 * @throws {MillraceError} E_DIRECTORY when the answer is an older one or not signed; what `ask` throws
 */
export async function fetchDirectory(
  ask: AskDirectory,
  file: Pick<DirectoryFile, 'sequence' | 'offer'>,
  signal?: AbortSignal,
): Promise<boolean> {
  const newest = await ask({ after: file.sequence }, { signal, timeoutMs: ANSWER_MS });
  return newest === undefined ? false : file.offer(newest);
}

/** Asks again and again until it is closed. */
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
          logger.error({ err: coded }, 'directory refused: a node has answered with an older or an unsigned one');
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
