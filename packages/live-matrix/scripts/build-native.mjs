// Builds the native engine with the system's C compiler and Node's headers, if both exist. Downloads nothing.
// build-kernels.mjs calls `buildNative`; prebuild.mjs and check-native.mjs use the other exports.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const folder = join(dirname(fileURLToPath(import.meta.url)), '..', 'native');
const output = join(folder, 'build', 'live_matrix.node');

/** Source files and flags for a processor. Each instruction set has its own translation unit. */
export function kernelUnits(arch = process.arch) {
  const units = [
    ['clock.c', ['-D_POSIX_C_SOURCE=200809L']],
    ['constants.c', []],
    ['secret.c', []],
    ['table.c', []],
    ['kernel_portable.c', []],
  ];
  if (arch === 'x64') units.push(['kernel_avx2.c', ['-mavx2', '-mbmi2']], ['kernel_avx512.c', ['-mavx512f', '-mbmi2']]);
  if (arch === 'arm64') units.push(['kernel_neon.c', []]);
  return units;
}

export const flags = ['-O3', '-std=c11', '-fPIC', '-fvisibility=hidden', '-Wall', '-Wextra', '-Wno-psabi'];

export function findCompiler(candidates = [process.env.CC, 'cc', 'gcc', 'clang'].filter(Boolean)) {
  return candidates.find((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0);
}

/** Official archives of Node include its headers. */
export function findHeaders() {
  const beside = join(dirname(process.execPath), '..', 'include', 'node');
  const candidates = [
    process.env.npm_config_nodedir && join(process.env.npm_config_nodedir, 'include', 'node'),
    beside,
  ];
  return candidates.find((path) => path && existsSync(join(path, 'node_api.h')));
}

/** Compiles and links every unit for `arch` into `target`, in the folder `scratch`. */
export function compileAddon({ compiler, headers, arch, scratch, target, linkFlags = [] }) {
  mkdirSync(scratch, { recursive: true });
  const objects = [...kernelUnits(arch), ['addon.c', ['-isystem', headers]]].map(([source, extra]) => {
    const object = join(scratch, source.replace(/\.c$/, '.o'));
    execFileSync(compiler, [...flags, ...extra, '-c', join(folder, source), '-o', object], { stdio: 'pipe' });
    return object;
  });
  const link = process.platform === 'darwin' ? ['-bundle', '-undefined', 'dynamic_lookup'] : ['-shared'];
  execFileSync(compiler, [...link, ...linkFlags, ...objects, '-o', target], { stdio: 'pipe' });
}

/** Loads the addon in a separate process first, because a miscompiled addon would crash Node. */
export function tryAddon(file) {
  execFileSync(process.execPath, ['-e', 'require(process.argv[1]).kernelNames()', file], { stdio: 'pipe' });
}

/** Hash of all sources and flags. */
export function sourceDigest(arch = process.arch) {
  const digest = createHash('sha256').update(`${arch} ${flags.join(' ')}`);
  const sources = readdirSync(folder).filter((name) => /\.[ch]$/.test(name));
  for (const name of sources.sort()) digest.update(readFileSync(join(folder, name)));
  return digest.digest('hex');
}

/** Removes a prebuild of other sources, because the loader would prefer it to the new build. */
function dropStalePrebuild(wanted) {
  const place = join(folder, 'prebuilds', `${process.platform}-${process.arch}`);
  const stamp = join(place, 'sources.sha256');
  if (existsSync(place) && !(existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted)) {
    rmSync(place, { recursive: true, force: true });
  }
}

/** @returns a one-line report; undefined when the addon is up to date */
export function buildNative() {
  if (process.env.MILLRACE_NATIVE === '0') return 'no native engine: MILLRACE_NATIVE is 0';
  if (process.platform === 'win32') return 'no native engine: not built on Windows';
  const wanted = sourceDigest();
  const stamp = `${output}.sha256`;
  dropStalePrebuild(wanted);
  if (existsSync(output) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return undefined;
  rmSync(output, { force: true }); // Built from other sources: remove it, so that it is not loaded.

  const compiler = findCompiler();
  if (compiler === undefined) return 'no native engine: there is no C compiler; WebAssembly is used instead';
  const headers = findHeaders();
  if (headers === undefined) return "no native engine: Node's headers are missing; WebAssembly is used instead";

  // Build in a temporary folder, then rename: running processes keep their file, and concurrent builds do not
  // interfere.
  const scratch = join(folder, 'build', `tmp-${process.pid}`);
  try {
    const linked = join(scratch, 'live_matrix.node');
    compileAddon({ compiler, headers, arch: process.arch, scratch, target: linked });
    tryAddon(linked);
    renameSync(linked, output);
    writeFileSync(stamp, wanted);
    return 'built the native engine';
  } catch (error) {
    return `no native engine: ${firstLine(error)}; WebAssembly is used instead`;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

export function firstLine(error) {
  return String(error.stderr ?? error.message)
    .split('\n')
    .find(Boolean);
}
