import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';
import { hasSystemCode } from '@millrace/client/node';

const DEFAULT_LIMIT = 8 * 1024 * 1024;

/** The log of one process: JSON lines, at most two files of `limit` bytes (NAME.jsonl and NAME.1.jsonl). */
export interface LogFile {
  /**
   * Writes one line, given without its end. Text that is not JSON (a crash of the runtime) is wrapped, so that the file
   * stays JSON.
   */
  write(line: string): void;
  close(): void;
}

export function openLogFile(path: string, name: string, limit = DEFAULT_LIMIT): LogFile {
  const older = path.replace(/\.jsonl$/, '.1.jsonl');
  let file = openSync(path, 'a', 0o600);
  let size = fstatSync(file).size;
  let closed = false;

  const rotate = () => {
    closeSync(file);
    renameSync(path, older);
    file = openSync(path, 'a', 0o600);
    size = 0;
  };
  return {
    write: (line) => {
      if (closed || line.trim() === '') return;
      const bytes = Buffer.from(`${isJsonObject(line) ? line : wrap(name, line)}\n`);
      try {
        if (size > 0 && size + bytes.length > limit) rotate();
        writeSync(file, bytes);
        size += bytes.length;
      } catch (error) {
        // A full disk must not stop the machines: drop the line and let the processes continue.
        if (!hasSystemCode(error, 'ENOSPC', 'EDQUOT', 'EIO')) throw error;
      }
    },
    close: () => {
      if (!closed) closeSync(file);
      closed = true;
    },
  };
}

function wrap(name: string, line: string): string {
  return JSON.stringify({ level: 'error', time: new Date().toISOString(), name, msg: line });
}

function isJsonObject(line: string): boolean {
  if (!line.startsWith('{')) return false;
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}
