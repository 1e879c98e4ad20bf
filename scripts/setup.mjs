// Installs dependencies and builds, if needed. Uses only Node, because it runs before dependencies are installed.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const marker = join(root, 'node_modules', '.millrace-setup');
const MIN_NODE = [20, 19];

/** Messages go to standard error, so that standard output has only the caller's result. */
const say = (text) => process.stderr.write(`${text}\n`);

export function setup() {
  requireNode();
  install();
  build();
  sayOptional();
}

/** Exits with a short error; the failed step has printed its details. */
function fail(what, remedy) {
  say(`\n  error   ${what}\n  remedy  ${remedy}\n`);
  process.exit(1);
}

function requireNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > MIN_NODE[0] || (major === MIN_NODE[0] && minor >= MIN_NODE[1])) return;
  fail(`Node ${process.versions.node} is too old`, `Use Node ${MIN_NODE.join('.')} or newer (24 is recommended).`);
}

function install() {
  const lock = join(root, 'package-lock.json');
  if (isInstalled(lock)) return;
  say('installing dependencies (npm ci) …');
  if (npm('ci') !== 0) {
    // npm ci refuses the lock file if the registry lacks packages of other platforms.
    say('npm ci failed; trying npm install without changing package-lock.json …');
    if (npm('install', '--no-save') !== 0) {
      fail('the dependencies could not be installed', 'See the lines above; check the network and run it again.');
    }
  }
  writeFileSync(marker, hashOf(lock));
}

/** Runs npm and returns its exit code. Uses the npm that started this script, or the one on the PATH. */
function npm(...command) {
  const args = [...command, '--no-audit', '--no-fund', '--loglevel', 'error'];
  const script = process.env.npm_execpath;
  const options = { cwd: root, stdio: ['ignore', 2, 2] };
  if (script?.endsWith('npm-cli.js')) return spawnSync(process.execPath, [script, ...args], options).status;
  return spawnSync('npm', args, { ...options, shell: process.platform === 'win32' }).status;
}

/** Whether this lock file is installed: by this script, or by npm after the file's last change. */
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
  const options = { cwd: root, stdio: ['ignore', 2, 2] };
  if (spawnSync(process.execPath, [join(root, 'scripts/build.mjs')], options).status !== 0) {
    fail('the build failed', 'See the lines above.');
  }
}

/** Reports missing optional parts in one line. */
function sayOptional() {
  const missing = [];
  const compilers = [process.env.CC, 'cc', 'gcc', 'clang'].filter(Boolean);
  if (!compilers.some((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0)) {
    missing.push('a C compiler (WebAssembly is used instead of native hash engines)');
  }
  if (missing.length > 0) say(`optional parts that are missing: ${missing.join('; ')}`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) setup();
