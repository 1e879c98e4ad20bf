// npm test [-- ARGUMENTS FOR VITEST]: installs and builds if needed, lints, runs the tests.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root, setup } from './setup.mjs';

setup();
const args = process.argv.slice(2);
// tests/structure.test.ts checks the structure and docs/errors.md.
const stages = [
  ['lint', 'node_modules/@biomejs/biome/bin/biome', ['check', '--error-on-warnings', '.']],
  ['types of the tests', 'node_modules/typescript/bin/tsc', ['-p', 'tsconfig.test.json']],
  ['tests', 'node_modules/vitest/vitest.mjs', ['run', ...args]],
];
for (const [name, script, options] of stages) {
  const { status, signal } = spawnSync(process.execPath, [join(root, script), ...options], {
    cwd: root,
    stdio: 'inherit',
  });
  if (status !== 0) {
    process.stderr.write(`\n${name}: failed${signal ? ` (${signal})` : ''}\n`);
    process.exit(status ?? 1);
  }
}
