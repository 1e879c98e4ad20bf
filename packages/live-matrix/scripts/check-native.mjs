// Runs the C kernels without Node: check-native.mjs sanitize (address and undefined behaviour), check-native.mjs neon
// (cross-compiled for 64-bit ARM, under QEMU's user emulation). If tools are missing, it reports that and succeeds.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { flags, kernelUnits } from './build-native.mjs';

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', 'native');
const vectorFile = new URL('../../../vectors/live-matrix/hash.json', import.meta.url);

const modes = {
  sanitize: {
    compiler: process.env.CC ?? 'cc',
    arch: process.arch,
    extra: ['-O1', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-fno-omit-frame-pointer'],
    run: [],
  },
  neon: { compiler: 'aarch64-linux-gnu-gcc', arch: 'arm64', extra: ['-static'], run: ['qemu-aarch64-static'] },
};

/** Converts hash.json to the input of selftest.c. */
function vectorLines() {
  return JSON.parse(readFileSync(vectorFile, 'utf8')).hashes.map(({ suite, g, t, k, lane0 }) => {
    const block = Buffer.alloc(200);
    const low = BigInt(g) & 0xffffffffn;
    block.writeBigUInt64LE(BigInt(g) - low, 0);
    block.writeBigUInt64LE(BigInt(t), 8);
    Buffer.from(k, 'hex').copy(block, 16);
    block[48] = suite === 'keccak256' ? 0x01 : 0x4d;
    block[suite === 'keccak256' ? 135 : 167] = 0x80;
    return `${suite === 'keccak256' ? 24 : 12} ${block.toString('hex')} ${low} ${lane0}\n`;
  });
}

const mode = modes[process.argv[2]];
if (mode === undefined) throw new Error(`usage: check-native.mjs ${Object.keys(modes).join('|')}`);
const missing = [mode.compiler, ...mode.run].find((tool) => spawnSync(tool, ['--version']).status !== 0);
if (missing !== undefined) {
  console.log(`not checked: ${missing} is missing`);
  process.exit(0);
}
const scratch = mkdtempSync(join(tmpdir(), 'millrace-native-'));
try {
  const objects = [...kernelUnits(mode.arch), ['selftest.c', []]].map(([source, extra]) => {
    const object = join(scratch, source.replace(/\.c$/, '.o'));
    execFileSync(mode.compiler, [...flags, ...mode.extra, ...extra, '-c', join(folder, source), '-o', object]);
    return object;
  });
  const program = join(scratch, 'selftest');
  execFileSync(mode.compiler, [...mode.extra, ...objects, '-o', program]);
  const [command, ...args] = [...mode.run, program];
  const result = spawnSync(command, args, { input: vectorLines().join(''), encoding: 'utf8' });
  process.stdout.write(result.status === 0 ? `clean: ${result.stdout}` : result.stdout + result.stderr);
  process.exitCode = result.status === 0 ? 0 : 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
