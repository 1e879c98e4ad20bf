// Bundles the programs that start often: packages/*/dist/program/main.js. Hundreds of small modules become a few files,
// and a start takes a third of the processor time.
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const packages = fileURLToPath(new URL('../packages', import.meta.url));
const programs = ['cli', 'cloud', 'machine'];

/** Our own packages and libraries of many ES modules. Others, and those with native code, stay in node_modules. */
const included = /^([./#]|@millrace\/|@hpke\/|@noble\/|(cborg|jose|oauth4webapi|openid-client|zod)(\/|$))/;

/** Files that a module finds beside itself keep their places. */
const RELATIVE_URL = /new URL\((["'`])((?:\.\.?\/)+)(?=.*?, import\.meta\.url\))/g;
const keepUrls = (folder) => ({
  name: 'keep-urls',
  transform(code, id) {
    if (code.search(RELATIVE_URL) === -1) return undefined;
    const kept = code.replaceAll(RELATIVE_URL, (_all, quote, path) => {
      const place = relative(folder, resolve(dirname(id), path)).replaceAll('\\', '/');
      return `new URL(${quote}${place}/`;
    });
    return { code: kept, map: null };
  },
});

/** When the compiler wrote the newest module, ms since 1970. */
function newestModule() {
  const times = readdirSync(packages, { withFileTypes: true }).flatMap(({ name }) => {
    const dist = join(packages, name, 'dist');
    if (!existsSync(dist)) return [];
    return readdirSync(dist, { withFileTypes: true, recursive: true })
      .filter((entry) => entry.name.endsWith('.js') && !entry.parentPath.startsWith(join(dist, 'program')))
      .map((entry) => statSync(join(entry.parentPath, entry.name)).mtimeMs);
  });
  return Math.max(...times);
}

/** Written by npm at the end of an installation: libraries are bundled as well. */
const installed = join(packages, '../node_modules/.package-lock.json');
const newest = Math.max(
  newestModule(),
  ...[fileURLToPath(import.meta.url), installed].filter(existsSync).map((file) => statSync(file).mtimeMs),
);
for (const name of programs) {
  const dist = join(packages, name, 'dist');
  const folder = join(dist, 'program');
  const main = join(folder, 'main.js');
  if (existsSync(main) && statSync(main).mtimeMs >= newest) continue;
  const build = await rolldown({
    input: join(dist, 'main.js'),
    platform: 'node',
    external: (id) => !included.test(id),
    plugins: [keepUrls(folder)],
  });
  rmSync(folder, { recursive: true, force: true });
  const { output } = await build.write({ dir: folder, format: 'esm', sourcemap: true });
  console.log(`bundled packages/${name}/dist/program (${output.filter(({ type }) => type === 'chunk').length} chunks)`);
}
