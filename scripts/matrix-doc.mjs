// Generates docs/security/matrix.md from the positions of tests/adversary. Run as a program, it makes the test that
// compares them write the page.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const rank = { held: 0, 'denial only': 1, limit: 2 };

/** The verdict of a cell is that of its worst attack. */
const verdictOf = (attacks) => attacks.map(({ verdict }) => verdict).sort((a, b) => rank[b] - rank[a])[0];

/** Wraps Markdown at 120 characters. @param indent of the lines after the first */
function wrapped(text, indent) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines[lines.length - 1];
    if (line === '') lines[lines.length - 1] = (lines.length > 1 ? indent : '') + word;
    else if (line.length + 1 + word.length > 120) lines.push(indent + word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines;
}

const anchor = (name) => name.replaceAll(' ', '-').replaceAll('+', '');

/** The page, from the names of the goals and the positions. */
export function matrixPage(goals, positions) {
  const names = Object.keys(goals);
  return [
    '# Who can do what',
    '',
    ...wrapped(
      'Each row is an attacker who has the real keys of a position and runs modified code; each column is a goal. Every ' +
        'cell has at least one test in `tests/adversary`, which runs against real nodes with real keys. The verdicts: ' +
        '*held*, the attack fails; *denial only*, it only stops something; *limit*, the attack succeeds, and the text ' +
        'below says why that is accepted. A cell shows the verdict of its worst attack.',
      '',
    ),
    '',
    ...wrapped(
      'This page is generated from the tests by `node scripts/matrix-doc.mjs`. `tests/adversary/matrix.test.ts` checks ' +
        'that it is up to date and that every cell has a test.',
      '',
    ),
    '',
    ...names.map((goal) => `- ${goal}: ${goals[goal]}`),
    '',
    `| position | ${names.join(' | ')} |`,
    `|---|${names.map(() => '---|').join('')}`,
    ...positions.map(
      ({ name, attacks }) =>
        `| [${name}](#${anchor(name)}) | ${names.map((goal) => verdictOf(attacks[goal])).join(' | ')} |`,
    ),
    ...positions.flatMap(({ name, holds, attacks }) => [
      '',
      `## ${name}`,
      '',
      ...wrapped(`Holds ${holds}.`, ''),
      '',
      ...names.flatMap((goal) =>
        attacks[goal].flatMap(({ verdict, tried, why }) =>
          wrapped(`- **${goals[goal]}**, *${verdict}*: it ${tried}. ${why[0].toUpperCase()}${why.slice(1)}.`, '  '),
        ),
      ),
    ]),
    '',
  ].join('\n');
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const root = join(dirname(fileURLToPath(import.meta.url)), '..');
  const args = ['vitest', 'run', 'tests/adversary/matrix.test.ts', ...(process.argv.includes('--check') ? [] : ['-u'])];
  process.exit(spawnSync('npx', args, { cwd: root, stdio: 'inherit' }).status ?? 1);
}
