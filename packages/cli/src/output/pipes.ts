import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { MillraceError } from '@millrace/base';
import { hasSystemCode } from '@millrace/client/node';
import type { Sink } from '@millrace/peer';

const PIECE_BYTES = 1 << 18;

/** Data that is read once, from a file or from standard input. */
export interface Source {
  readonly data: AsyncIterable<Uint8Array>;
  /** Length in bytes, if known in advance. */
  readonly size: number | undefined;
  /** Ends a pending read: a pipe that stays open would keep the process alive. */
  close(): void;
}

/** @throws {MillraceError} E_NOT_FOUND, E_INPUT */
export async function openSource(path: string): Promise<Source> {
  if (path === '-') {
    return { data: process.stdin, size: undefined, close: () => void process.stdin.destroy() };
  }
  let found: Awaited<ReturnType<typeof stat>>;
  try {
    found = await stat(path);
  } catch (cause) {
    throw new MillraceError(hasSystemCode(cause, 'ENOENT') ? 'E_NOT_FOUND' : 'E_INPUT', `cannot read ${path}`, {
      cause,
    });
  }
  if (found.isDirectory()) throw new MillraceError('E_INPUT', `${path} is a folder; pack it first, as with tar`);
  const file = createReadStream(path, { highWaterMark: PIECE_BYTES });
  file.on('error', () => undefined); // the reader gets the error
  return { data: file, size: found.isFile() ? found.size : undefined, close: () => void file.destroy() };
}

/**
 * Standard output as a sink. Written data cannot be taken back.
 * @param signal ends a write that waits for a reader
 */
export function standardOutput(signal: AbortSignal): Sink {
  return {
    write: (chunk) =>
      new Promise((resolve, reject) => {
        const stop = () => reject(new MillraceError('E_STREAM_STOPPED', 'standard output is closed'));
        if (signal.aborted) return stop();
        signal.addEventListener('abort', stop, { once: true });
        process.stdout.write(chunk, (error) => {
          signal.removeEventListener('abort', stop);
          if (error == null) resolve();
          else reject(error);
        });
      }),
    commit: async () => undefined,
    discard: async () => undefined,
  };
}
