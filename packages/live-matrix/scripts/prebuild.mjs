// Builds the native engine for publication: native/prebuilds/<platform>-<arch>/live_matrix.node, with all instruction
// sets of the processor in one file, and its SHA-256, which the loader checks. Builds for this machine and, on Linux,
// for processors whose cross compiler is installed. Prebuilds are not committed; `npm pack` includes them. Usage:
// prebuild.mjs [--to FOLDER]
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { compileAddon, findCompiler, findHeaders, firstLine, folder, sourceDigest, tryAddon } from './build-native.mjs';

const { values } = parseArgs({ options: { to: { type: 'string' } } });
const prebuilds = resolve(values.to ?? join(folder, 'prebuilds'));

/** Node's names of processors, and their Linux compilers. */
const crossCompilers = { x64: 'x86_64-linux-gnu-gcc', arm64: 'aarch64-linux-gnu-gcc' };

const headers = findHeaders();
if (headers === undefined) fail("Node's headers are missing");
if (process.platform === 'win32') fail('the native engine is not built on Windows');

const here = findCompiler();
if (here === undefined) fail('there is no C compiler');
prebuild(process.arch, here);
if (process.platform === 'linux') {
  for (const [arch, compiler] of Object.entries(crossCompilers)) {
    if (arch === process.arch) continue;
    if (spawnSync(compiler, ['--version'], { stdio: 'ignore' }).status === 0) prebuild(arch, compiler);
    else console.log(`linux-${arch}: not built, ${compiler} is missing`);
  }
}

function prebuild(arch, compiler) {
  const name = `${process.platform}-${arch}`;
  const target = join(prebuilds, name, 'live_matrix.node');
  const scratch = join(prebuilds, `.${name}-${process.pid}`);
  try {
    const linked = join(scratch, 'live_matrix.node');
    // Without debug symbols.
    compileAddon({ compiler, headers, arch, scratch, target: linked, linkFlags: ['-s'] });
    if (arch === process.arch) tryAddon(linked);
    const bytes = readFileSync(linked);
    mkdirSync(join(prebuilds, name), { recursive: true });
    renameSync(linked, target);
    writeFileSync(`${target}.sha256`, `${createHash('sha256').update(bytes).digest('hex')}\n`);
    writeFileSync(join(prebuilds, name, 'sources.sha256'), sourceDigest(arch));
    console.log(`${name}: ${bytes.length} bytes${arch === process.arch ? '' : ', not run here'}`);
  } catch (error) {
    fail(`${name}: ${firstLine(error)}`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function fail(why) {
  console.error(`no prebuild: ${why}`);
  process.exit(1);
}
