// Builds the kernels (if their sources have changed), the TypeScript of all packages, and what is bundled of it.
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
run('packages/console/scripts/build-site.mjs', []);
run('scripts/bundle.mjs', []);
