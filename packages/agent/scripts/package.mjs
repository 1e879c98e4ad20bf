// Builds the packages of the agent, from the built workspace: an npm package with everything it needs inside, and a
// Debian package of the same files. Usage: package.mjs --to FOLDER [--arch amd64|arm64|armhf] [--only npm|deb]
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';

const own = join(dirname(fileURLToPath(import.meta.url)), '..');
const root = join(own, '../..');
const LIB = 'usr/lib/millrace-agent';

/** Debian's names of processors, and Node's. */
const processors = { amd64: 'x64', arm64: 'arm64', armhf: 'arm' };
const here = Object.keys(processors).find((name) => processors[name] === process.arch);

const { values } = parseArgs({
  options: { to: { type: 'string' }, arch: { type: 'string', default: here }, only: { type: 'string' } },
});
const { to, arch = '', only } = values;
const processor = processors[arch];
if (to === undefined || processor === undefined) {
  console.error('usage: package.mjs --to FOLDER [--arch amd64|arm64|armhf] [--only npm|deb]');
  process.exit(2);
}
const target = resolve(to);
const staging = join(target, `.staging-${arch}`);
rmSync(staging, { recursive: true, force: true });
const { version } = manifestOf(own);
const modules = closure();
if (only !== 'deb') npmPackage();
if (only !== 'npm') debianPackage();
rmSync(staging, { recursive: true, force: true });

function manifestOf(folder) {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
}

/**
 * The packages that the agent loads, by the path below node_modules at which they have to be. What only other programs
 * load (stores, their databases) is left out: `imports` follows the compiled files, not the manifests.
 */
function closure() {
  const ours = new Map();
  const others = new Map();
  const add = (name, from) => {
    if (name.startsWith('@millrace/')) return ours.set(name, realpathSync(join(root, 'node_modules', name)));
    for (let folder = from; ; folder = dirname(folder)) {
      const found = join(folder, 'node_modules', name);
      if (existsSync(join(found, 'package.json'))) {
        const place = found.slice(join(root, 'node_modules').length + 1);
        if (others.has(place)) return;
        others.set(place, found);
        const { dependencies = {}, optionalDependencies = {} } = manifestOf(found);
        for (const next of Object.keys({ ...dependencies, ...optionalDependencies })) add(next, found);
        return;
      }
      if (folder === dirname(folder)) return; // optional, for another platform
    }
  };
  const visited = new Set();
  const visit = (folder) => {
    if (visited.has(folder)) return;
    visited.add(folder);
    const imported = importsOf(join(folder, 'dist'));
    const { dependencies = {}, optionalDependencies = {} } = manifestOf(folder);
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies })) {
      if (!imported.has(name)) continue;
      add(name, folder);
      if (ours.has(name)) visit(ours.get(name));
    }
  };
  visit(own);
  return { ours, others };
}

/** The packages that compiled files name. */
function importsOf(folder) {
  const names = new Set();
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.js')) continue;
    const text = readFileSync(join(entry.parentPath ?? entry.path, entry.name), 'utf8');
    for (const [, specifier] of text.matchAll(/\b(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g))
      names.add(
        specifier
          .split('/')
          .slice(0, specifier.startsWith('@') ? 2 : 1)
          .join('/'),
      );
  }
  return names;
}

/** Writes the agent with its node_modules into a folder. @param prune leaves out prebuilt parts of other processors */
function writeProgram(folder, { prune }) {
  writeOurs(own, folder);
  for (const [name, from] of modules.ours) writeOurs(from, join(folder, 'node_modules', name));
  for (const [place, from] of modules.others) {
    cpSync(from, join(folder, 'node_modules', place), {
      recursive: true,
      filter: (path) => isNeeded(path.slice(from.length + 1)) && !(prune && isForeign(path)),
    });
  }
}

/** Copies what one of our packages publishes. */
function writeOurs(from, folder) {
  const { devDependencies: _, scripts: __, ...manifest } = manifestOf(from);
  mkdirSync(folder, { recursive: true });
  const published = ['dist', 'wasm', `native/prebuilds/linux-${processor}`].filter((name) =>
    existsSync(join(from, name)),
  );
  for (const name of published)
    cpSync(join(from, name), join(folder, name), {
      recursive: true,
      // The agent runs the packages' modules, not their programs.
      filter: (path) => !/\.(map|d\.ts|tsbuildinfo)$|\/dist\/program$/.test(path),
    });
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

/** Types, source maps, tests and documentation of libraries are not needed to run. Licences are kept. */
function isNeeded(path) {
  if (/(^|\/)node_modules(\/|$)/.test(path)) return false; // listed by its own place
  return !/^(test|tests|docs|examples|benchmarks?|\.github)(\/|$)|\.(map|md|ts|cts|mts|flow)$/i.test(path);
}

function isForeign(path) {
  const built = /prebuilds\/([^/]+)/.exec(path)?.[1];
  return built !== undefined && built !== `linux-${processor}`;
}

function run(command, args, options = {}) {
  const { status, stderr, stdout, error } = spawnSync(command, args, { encoding: 'utf8', ...options });
  if (status === 0) return stdout;
  console.error(error?.message ?? stderr);
  process.exit(1);
}

function npmPackage() {
  const folder = join(staging, 'npm');
  writeProgram(folder, { prune: false });
  const { devDependencies: _, dependencies: __, exports: ___, ...manifest } = manifestOf(own);
  // Every package is inside: npm fetches nothing. Packages of ours are in no registry.
  const bundled = [...modules.ours.keys(), ...modules.others.keys()].filter(
    (place) => !place.includes('/node_modules/'),
  );
  const dependencies = Object.fromEntries(
    bundled.map((name) => [name, manifestOf(join(folder, 'node_modules', name)).version]),
  );
  writeFileSync(
    join(folder, 'package.json'),
    `${JSON.stringify({ ...manifest, name: 'millrace-agent', files: ['dist'], dependencies, bundleDependencies: bundled }, null, 2)}\n`,
  );
  cpSync(join(own, 'README.md'), join(folder, 'README.md'));
  cpSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
  const packed = run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', target], { cwd: folder });
  console.log(join(target, JSON.parse(packed)[0].filename));
}

function debianPackage() {
  const folder = join(staging, 'deb');
  writeProgram(join(folder, LIB), { prune: true });
  const file = (path, content, mode = 0o644) => {
    const whole = join(folder, path);
    mkdirSync(dirname(whole), { recursive: true });
    writeFileSync(whole, content, { mode });
    chmodSync(whole, mode);
  };
  const from = (name) => readFileSync(join(own, 'debian', name));
  mkdirSync(join(folder, 'usr/bin'), { recursive: true });
  symlinkSync('../lib/millrace-agent/dist/main.js', join(folder, 'usr/bin/millrace-agent'));
  chmodSync(join(folder, LIB, 'dist/main.js'), 0o755);
  file('usr/lib/systemd/system/millrace-agent.service', from('millrace-agent.service'));
  file('usr/lib/sysusers.d/millrace-agent.conf', from('millrace-agent.sysusers'));
  file('etc/default/millrace-agent', from('millrace-agent.default'));
  const docs = 'usr/share/doc/millrace-agent';
  file(`${docs}/copyright`, readFileSync(join(root, 'LICENSE')));
  file(`${docs}/sites.md`, readFileSync(join(root, 'docs/sites.md')));
  file(`${docs}/changelog.gz`, gzipSync(readFileSync(join(root, 'CHANGELOG.md')), { level: 9 }));
  file('DEBIAN/conffiles', '/etc/default/millrace-agent\n');
  for (const name of ['postinst', 'prerm', 'postrm']) file(`DEBIAN/${name}`, from(name), 0o755);
  const control = {
    Package: 'millrace-agent',
    Version: version,
    Architecture: arch,
    Maintainer: 'Millrace <maintainers@millrace.invalid>',
    'Installed-Size': String(Math.ceil(sizeOf(folder) / 1024)),
    Depends: 'nodejs (>= 20.19)',
    Recommends: 'systemd',
    Section: 'net',
    Priority: 'optional',
    Description:
      'agent of machines in secure remote manufacturing\n Makes parts from designs that are streamed to the machine and never stored. Makes\n its own keys, is paired by a code, opens no port to the outside.',
  };
  file(
    'DEBIAN/control',
    `${Object.entries(control)
      .map(([name, value]) => `${name}: ${value}`)
      .join('\n')}\n`,
  );
  const built = join(target, `millrace-agent_${version}_${arch}.deb`);
  run('dpkg-deb', ['--build', '--root-owner-group', '-Zxz', folder, built]);
  console.log(built);
}

function sizeOf(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath ?? entry.path, entry.name)).size, 0);
}
