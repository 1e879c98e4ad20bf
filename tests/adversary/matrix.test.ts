import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { goals, type Row } from '@millrace/testkit/adversary/position';
import { describe, expect, it } from 'vitest';
import { files, positions } from './positions/index.ts';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../..');

/** Every position of an attacker: each party, each pair of nodes, all nodes. */
const everybody = [
  'outsider',
  'another tenant',
  'operator',
  'agent',
  'distribution',
  'segments',
  'keys',
  'control',
  'control + segments',
  'control + keys',
  'control + distribution',
  'segments + keys',
  'segments + distribution',
  'keys + distribution',
  'all nodes',
  'other cloud',
];

describe('the matrix of positions and goals', () => {
  it('has every position, and a test for every goal of each', () => {
    expect(positions.map(({ name }) => name)).toEqual(everybody);
    for (const { name, attacks } of positions) {
      expect(Object.keys(attacks), name).toEqual(Object.keys(goals));
      for (const [goal, tried] of Object.entries(attacks)) expect(tried.length, `${name}: ${goal}`).toBeGreaterThan(0);
    }
  });

  it('has no test that is left out, and no two of one name', () => {
    const found = readdirSync(here).filter((name) => name.endsWith('.test.ts') && name !== 'matrix.test.ts');
    expect(found.sort()).toEqual(
      Object.keys(files)
        .map((name) => `${name}.test.ts`)
        .sort(),
    );
    for (const [file, rows] of Object.entries(files)) {
      // A file only plays its positions, so that no test in it can be skipped or conditional.
      const lines = readFileSync(join(here, `${file}.test.ts`), 'utf8').split('\n');
      const calls = lines.filter((line) => line !== '' && !/^(import | {2}\w+,$|\} from )/.test(line));
      expect(calls, file).toEqual(Object.keys(rows).map((name) => `play(${name});`));
    }
    const titles = positions.flatMap(({ name, attacks }) =>
      Object.entries(attacks).flatMap(([goal, tried]) => tried.map((attack) => `${name} ${goal} ${attack.tried}`)),
    );
    expect(new Set(titles).size).toBe(titles.length);
  });

  it('docs/security/matrix.md says what the tests are', async () => {
    const { matrixPage } = (await import(pathToFileURL(join(root, 'scripts/matrix-doc.mjs')).href)) as {
      matrixPage(titles: typeof goals, rows: readonly Row[]): string;
    };
    await expect(matrixPage(goals, positions)).toMatchFileSnapshot(join(root, 'docs/security/matrix.md'));
  });
});
