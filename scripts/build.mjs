// Builds the kernels (if their sources have changed), then the TypeScript of all packages.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
function run(command, args) {
  const { status } = spawnSync(process.execPath, [join(root, command), ...args], { cwd: root, stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}

const kernels = 'packages/live-matrix/scripts/build-kernels.mjs';
if (existsSync(join(root, kernels))) run(kernels, []);
run('node_modules/typescript/bin/tsc', ['-b']);
run('packages/client/scripts/build-page.mjs', []);
