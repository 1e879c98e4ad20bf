import { spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { MillraceError } from '@millrace/base';

const KEPT = 4_000;

/** The first of `names` that is executable in a folder of PATH. */
export async function findProgram(names: readonly string[], path = ''): Promise<string | undefined> {
  for (const name of names) {
    for (const folder of path.split(delimiter)) {
      const program = join(folder, name);
      if (folder !== '' && (await mayRun(program))) return program;
    }
  }
  return undefined;
}

async function mayRun(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The end of its output on both streams. */
  readonly said: string;
}

/**
 * Runs a slicer; `signal` ends it. No shell is involved: file names are passed as arguments.
 * @throws {MillraceError} E_SLICER if it cannot be started; the signal's reason
 */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: { readonly signal?: AbortSignal | undefined; readonly onLine?: (line: string) => void } = {},
): Promise<Ended> {
  const { signal, onLine } = options;
  signal?.throwIfAborted();
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const stop = () => child.kill('SIGKILL');
  signal?.addEventListener('abort', stop, { once: true });
  let said = '';
  let line = '';
  const take = (text: string) => {
    said = (said + text).slice(-KEPT);
    const lines = (line + text).split('\n');
    line = (lines.pop() ?? '').slice(-KEPT);
    for (const each of lines) onLine?.(each);
  };
  child.stdout.setEncoding('utf8').on('data', take);
  child.stderr.setEncoding('utf8').on('data', take);
  try {
    const ended = await new Promise<Ended>((resolve, reject) => {
      child.once('error', (cause) => {
        reject(new MillraceError('E_SLICER', `cannot run the slicer ${program}`, { cause }));
      });
      child.once('close', (code, killed) => resolve({ code, signal: killed, said }));
    });
    signal?.throwIfAborted();
    return ended;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/** The last output lines of a failed slicer on one line, without time stamps and traces. */
export function lastWords({ said, code, signal }: Ended): string {
  const lines = said
    .split('\n')
    .map((line) => line.replace(/^\[[^\]]*\]\s*\[[^\]]*\]\s*\[(?:error|warning|fatal)\]\s*/, '').trim())
    .filter((line) => line !== '' && !/^\[[^\]]*\]\s*\[[^\]]*\]\s*\[(?:trace|debug|info)\]/.test(line));
  const words = lines.slice(-3).join('; ').slice(-600);
  return words === '' ? `it exited with ${signal ?? code ?? 'nothing'} and printed nothing` : words;
}
