// Builds everything: the WebAssembly kernels (when their source changed), then the TypeScript of all packages.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const run = (command, args) =>
  execFileSync(process.execPath, [join(root, command), ...args], { cwd: root, stdio: 'inherit' });

const kernels = 'packages/live-matrix/scripts/build-kernels.mjs';
if (existsSync(join(root, kernels))) run(kernels, []);
run('node_modules/typescript/bin/tsc', ['-b']);
