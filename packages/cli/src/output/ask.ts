import { openSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { ReadStream } from 'node:tty';
import { MillraceError } from '@millrace/base';
import type { Terminal } from './terminal.ts';

/**
 * Asks the user at the terminal, even if standard input is a pipe.
 * @param instead advice if there is no terminal
 * @throws {MillraceError} E_INPUT
 */
export async function ask(terminal: Terminal, question: string, instead: string, signal: AbortSignal): Promise<string> {
  const input = openKeyboard(instead);
  // Without an output, the terminal itself echoes, edits the line and turns Ctrl-C into a signal.
  const lines = createInterface({ input });
  terminal.say(question);
  try {
    return await new Promise<string>((resolve, reject) => {
      const stop = () => reject(new MillraceError('E_INPUT', 'no input'));
      signal.addEventListener('abort', stop, { once: true });
      lines.once('close', stop);
      lines.once('line', resolve);
    });
  } finally {
    lines.close();
    input.destroy();
  }
}

function openKeyboard(instead: string): ReadStream {
  try {
    return new ReadStream(openSync('/dev/tty', 'r'));
  } catch (cause) {
    throw new MillraceError('E_INPUT', `there is no terminal for the question: ${instead}`, { cause });
  }
}
