// Builds dist/certificate-page.js: the verifier that stands in certificates' pages, with all that it imports.
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));
const output = join(root, 'dist/certificate-page.js');

/** When anything was built last of what the page imports. */
function newest(folder) {
  return Math.max(
    0,
    ...readdirSync(folder, { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.js'))
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((file) => file !== output)
      .map((file) => statSync(file).mtimeMs),
  );
}

const packages = ['api', 'base', 'client', 'identity', 'ledger', 'protocol', 'vault'];
/** Written by npm at the end of an installation: libraries are in the page as well. */
const installed = join(root, '../../node_modules/.package-lock.json');
const built = Math.max(
  existsSync(installed) ? statSync(installed).mtimeMs : 0,
  ...packages.map((name) => newest(join(root, '..', name, 'dist'))),
);
if (!existsSync(output) || statSync(output).mtimeMs < built) {
  const build = await rolldown({
    input: join(root, 'dist/certificate/verify-page.js'),
    platform: 'browser',
    resolve: { conditionNames: ['browser', 'import', 'default'] },
  });
  const { output: chunks } = await build.generate({ format: 'iife', minify: true, codeSplitting: false });
  mkdirSync(dirname(output), { recursive: true });
  writeFileSync(output, chunks[0].code);
  console.log(`built dist/certificate-page.js (${chunks[0].code.length} bytes)`);
}
