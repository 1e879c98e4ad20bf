import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The built command. */
export const program = fileURLToPath(new URL('../../cli/dist/program/main.js', import.meta.url));

export interface CliResult {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The JSON document on standard output; undefined without --json or without output. */
  readonly json: Record<string, unknown> | undefined;
  /** Code of the displayed error. */
  readonly code: string | undefined;
}

/** Runs the built command as a user does. */
export function millrace(home: string, ...args: readonly string[]): Promise<CliResult> {
  return new Promise((resolve, reject) => {
    const argv = [program, ...args, '--home', home];
    execFile(process.execPath, argv, { timeout: 180_000, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      const exit = error === null ? 0 : error.code;
      if (typeof exit !== 'number') return reject(error ?? new Error('it was killed'));
      let json: Record<string, unknown> | undefined;
      try {
        json = JSON.parse(stdout);
      } catch {
        // not --json, or no output
      }
      const code = /\bE(?:_[A-Z]+)+\b/.exec(`${stdout}\n${stderr}`)?.[0];
      resolve({ exit, stdout, stderr, json, code });
    });
  });
}
