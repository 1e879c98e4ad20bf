import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
/** Inside the workspace, so that the examples resolve its packages. */
const folder = join(root, 'tests', `.readme-${process.pid}`);

const readmes = readdirSync(join(root, 'packages')).flatMap((name) => {
  try {
    return [{ name, text: readFileSync(join(root, 'packages', name, 'README.md'), 'utf8') }];
  } catch {
    return [];
  }
});

/** The code blocks marked `ts`. */
const examples = readmes.flatMap(({ name, text }) =>
  [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code = ''], index) => ({ name, index, code })),
);

beforeAll(() => mkdirSync(folder, { recursive: true }));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('READMEs of packages', () => {
  it.each(examples)('the example $index of $name runs', async ({ name, index, code }) => {
    const path = join(folder, `${name}-${index}.ts`);
    writeFileSync(path, code);
    await import(pathToFileURL(path).href);
  });

  it('have examples', () => {
    const named = new Set(examples.map(({ name }) => name));
    expect([...named]).toEqual(expect.arrayContaining(['base', 'identity', 'ledger', 'live-matrix', 'peer', 'vault']));
  });
});
