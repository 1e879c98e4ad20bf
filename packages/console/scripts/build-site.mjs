// Builds dist/site, the files of the web application, from dist/web and what it imports.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const root = fileURLToPath(new URL('..', import.meta.url));
const output = join(root, 'dist/site/index.html');

/** zod compiles schemas when they are made. The policy of the server allows no code from texts. */
const intro = 'globalThis.__zod_globalConfig ??= { jitless: true };';

/** When anything in a folder changed last. */
function newest(folder, pattern) {
  return Math.max(
    0,
    ...readdirSync(folder, { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile() && pattern.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((file) => !file.startsWith(join(root, 'dist/site')))
      .map((file) => statSync(file).mtimeMs),
  );
}

/** Written by npm at the end of an installation: libraries are in the site as well. */
const installed = join(root, '../../node_modules/.package-lock.json');
const packages = ['api', 'base', 'client', 'console', 'gcode', 'identity', 'ledger', 'protocol', 'toolpath', 'vault'];
const built = Math.max(
  ...packages.map((name) => newest(join(root, '..', name, 'dist'), /\.js$/)),
  newest(join(root, 'src/web'), /\.(css|svg)$/),
  statSync(join(root, 'index.html')).mtimeMs,
  existsSync(installed) ? statSync(installed).mtimeMs : 0,
);
if (!existsSync(output) || statSync(output).mtimeMs < built) {
  await build({
    root,
    configFile: false,
    logLevel: 'error',
    publicDir: false,
    resolve: { conditions: ['browser', 'import', 'module', 'default'] },
    build: {
      outDir: 'dist/site',
      emptyOutDir: true,
      target: 'es2023',
      modulePreload: { polyfill: false },
      // The policy of the server allows no data addresses.
      assetsInlineLimit: 0,
      reportCompressedSize: false,
      rolldownOptions: { output: { intro } },
    },
    worker: { format: 'es', rolldownOptions: { output: { intro } } },
  });
  console.log('built dist/site');
}
