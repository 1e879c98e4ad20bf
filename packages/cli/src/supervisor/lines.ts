import type { Readable } from 'node:stream';

/** Calls `handle` with each complete line of a child's output, and with an unterminated last line. */
export function onLines(stream: Readable, handle: (line: string) => void, maxLength = 256 * 1024): void {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) handle(line);
    if (rest.length > maxLength) {
      handle(rest);
      rest = '';
    }
  });
  stream.on('end', () => {
    if (rest !== '') handle(rest);
    rest = '';
  });
}
