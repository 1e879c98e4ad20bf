// npm run bench -- NAME [--json]: installs and builds if needed, then runs a benchmark. Writes only the result to
// standard output.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root, setup } from './setup.mjs';

setup();
const main = join(root, 'packages/lab/dist/main.js');
if (!existsSync(main)) {
  process.stderr.write('\n  error   packages/lab has no program yet\n  remedy  See the roadmap.\n\n');
  process.exit(1);
}
process.argv = [process.argv[0], main, ...process.argv.slice(2)];
await import(pathToFileURL(main).href);
