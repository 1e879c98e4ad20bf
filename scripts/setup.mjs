// Installs what is missing and builds; quick when there is nothing to do. Plain Node: it runs before anything is installed.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const marker = join(root, 'node_modules', '.millrace-setup');
const LEAST_NODE = [20, 19];

/** Everything that is said goes to standard error, so that callers keep standard output for their result. */
const say = (text) => process.stderr.write(`${text}\n`);

export function setup() {
  requireNode();
  install();
  build();
  sayOptional();
}

/** Ends the program with one plain block when something is wrong; `work` prints its own details. */
export function orExplain(what, remedy, work) {
  try {
    return work();
  } catch (error) {
    say(`\n  error   ${what}${error?.status ? ` (exit code ${error.status})` : ''}\n  remedy  ${remedy}\n`);
    process.exit(1);
  }
}

function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1])) return;
  say(
    `\n  error   Node ${process.versions.node} is too old\n  remedy  Use Node ${LEAST_NODE.join('.')} or newer (24 is recommended).\n`,
  );
  process.exit(1);
}

function install() {
  const lock = join(root, 'package-lock.json');
  if (isInstalled(lock)) return;
  say('installing dependencies (npm ci) …');
  orExplain(
    'the dependencies could not be installed',
    'See the lines above; check the network and run it again.',
    () => {
      const npm = process.env.npm_execpath;
      const args = ['ci', '--no-audit', '--no-fund', '--loglevel', 'error'];
      // `npm test` hands its own script over; without it npm is looked for on the PATH.
      if (npm?.endsWith('.js')) execFileSync(process.execPath, [npm, ...args], { cwd: root, stdio: ['ignore', 2, 2] });
      else execFileSync('npm', args, { cwd: root, stdio: ['ignore', 2, 2], shell: process.platform === 'win32' });
    },
  );
  writeFileSync(marker, hashOf(lock));
}

/** Either we installed this very lock file, or npm did after it was last changed. */
function isInstalled(lock) {
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installed)) return false;
  if (existsSync(marker) && readFileSync(marker, 'utf8') === hashOf(lock)) return true;
  return statSync(installed).mtimeMs >= statSync(lock).mtimeMs;
}

function hashOf(path) {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

function build() {
  orExplain('the build failed', 'See the lines above.', () =>
    execFileSync(process.execPath, [join(root, 'scripts/build.mjs')], { cwd: root, stdio: ['ignore', 2, 2] }),
  );
}

/** What Millrace can do without, in one line. */
function sayOptional() {
  const missing = [];
  const compilers = [process.env.CC, 'cc', 'gcc', 'clang'].filter(Boolean);
  if (!compilers.some((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0)) {
    missing.push('a C compiler (only native hash engines need one; WebAssembly serves)');
  }
  if (missing.length > 0) say(`optional parts that are missing: ${missing.join('; ')}`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) setup();
