// Writes docs/errors.md from packages/base/src/codes.ts (built). With --check: exits with 1 if the file is out of date.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const WIDTH = 120;

const exits = {
  0: 'success',
  1: 'an internal error in Millrace',
  2: 'invalid input',
  3: 'refused',
  4: 'not found',
  5: 'temporarily unavailable; retry',
  6: 'integrity: data was altered, damaged or lost',
  7: 'alarm',
  130: 'interrupted by Ctrl-C',
};

/** The page, from the table of codes. */
export function errorsPage(errorCodes) {
  const entries = Object.entries(errorCodes).flatMap(([code, { http, exit, retryable, meaning, remedy }]) =>
    wrap(`- **\`${code}\`** (HTTP ${http}, exit ${exit}${retryable ? ', retryable' : ''}): ${meaning} *${remedy}*`),
  );
  return [
    '# Errors',
    '',
    'Every error has one code. The command prints the code, what went wrong and what to do, and exits with',
    'the exit code below. Over HTTP, an error is a problem document (RFC 9457) with the status and `code`.',
    '',
    'This page is generated from `packages/base/src/codes.ts` by `node scripts/errors-doc.mjs`; a test compares them.',
    '',
    'Each entry gives the meaning and, in italics, what to do.',
    '',
    ...entries,
    '',
    '## Exit codes',
    '',
    '| exit | meaning |',
    '|---|---|',
    ...Object.entries(exits).map(([exit, meaning]) => `| ${exit} | ${meaning} |`),
    '',
  ].join('\n');
}

/** Wraps a list item at 120 characters. */
function wrap(item) {
  const lines = [''];
  for (const word of item.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (line.length + 1 + word.length > WIDTH) lines.push(`  ${word}`);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const root = join(dirname(fileURLToPath(import.meta.url)), '..');
  const { errorCodes } = await import(pathToFileURL(join(root, 'packages/base/dist/codes.js')).href);
  const path = join(root, 'docs/errors.md');
  const page = errorsPage(errorCodes);
  if (!process.argv.includes('--check')) writeFileSync(path, page);
  else if (readFileSync(path, 'utf8') !== page) {
    process.stderr.write('docs/errors.md is out of date: run `node scripts/errors-doc.mjs`\n');
    process.exit(1);
  }
}
