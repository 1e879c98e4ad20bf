import { spawn } from 'node:child_process';
import { readSettings } from '@millrace/cloud';
import { type Entries, nodeOptions } from '../supervisor/children.ts';

/**
 * Runs the node of a folder in a process of its own, which ends with this one.
 * @returns the node's exit code
 * @throws {MillraceError} E_CONFIG if the folder contains no admitted node
 */
export async function runNode(folder: string, entries: Entries, signal: AbortSignal): Promise<number> {
  await readSettings(folder);
  const { node, env } = nodeOptions;
  const child = spawn(process.execPath, [...node, entries.node, '--folder', folder], {
    // The channel closes with this process, and the node then ends too.
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...env, ...process.env },
  });
  const stop = () => void child.kill('SIGTERM');
  signal.addEventListener('abort', stop, { once: true });
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code) => resolve(code ?? 1));
    });
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
