import type { Readable } from 'node:stream';

/** Lines of a child's output, whole ones, as they come; a last one without end too. */
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
