import type { MillraceError } from '@millrace/base';
import { plain } from './format.ts';

/** Output stream for text, such as `process.stdout`. */
export interface TextStream {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

export interface TerminalOptions {
  readonly stdout: TextStream;
  readonly stderr: TextStream;
  readonly json: boolean;
}

/**
 * Output of a command. With --json, standard output gets exactly one JSON document, at the end; everything else goes to
 * standard error.
 */
export interface Terminal {
  readonly json: boolean;
  readonly interactive: boolean;
  readonly columns: number;
  /** The result: `text` for people, `value` for programs. Call it once per command. */
  result(value: unknown, text: string): void;
  /** Prints a line before the result. */
  say(text: string): void;
  /** Overwrites the current line; an empty text clears it. For interactive terminals. */
  overwrite(text: string): void;
  error(error: MillraceError): void;
}

export function createTerminal({ stdout, stderr, json }: TerminalOptions): Terminal {
  let over = false;
  let answered = false;
  const clear = () => {
    if (over) stderr.write('\r\u001b[2K');
    over = false;
  };
  return {
    json,
    interactive: stderr.isTTY === true,
    columns: stderr.columns ?? 80,
    result: (value, text) => {
      clear();
      if (json) {
        if (answered) return;
        stdout.write(`${JSON.stringify(value, null, 2)}\n`);
      } else if (text !== '') {
        stdout.write(`${text}\n`);
      }
      answered = true;
    },
    say: (text) => {
      clear();
      stderr.write(`${text}\n`);
    },
    overwrite: (text) => {
      clear();
      if (text === '') return;
      stderr.write(text);
      over = true;
    },
    error: (error) => {
      clear();
      if (json && !answered) {
        answered = true;
        stdout.write(`${JSON.stringify({ error: error.toJSON() }, null, 2)}\n`);
      }
      stderr.write(formatError(error));
    },
  };
}

/** One block: the code, the problem, the remedy. */
export function formatError(error: MillraceError): string {
  return `\n  error   ${error.code}\n  what    ${plain(error.message)}\n  remedy  ${error.remedy}\n\n`;
}
