// Builds the kernels of the hash engine: WebAssembly from AssemblyScript, and the native engine if there is a compiler.
// Skips outputs that are newer than their sources.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative } from './build-native.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Runs `build` if a source has changed since the stamp of `output` was written. */
async function whenChanged(output, sources, options, build) {
  const digest = createHash('sha256').update(JSON.stringify(options));
  for (const source of sources) digest.update(readFileSync(join(root, source)));
  const wanted = digest.digest('hex');
  const stamp = join(root, 'wasm', `${output}.log`);
  const target = join(root, 'wasm', output);
  if (existsSync(target) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  await build(target);
  writeFileSync(stamp, wanted);
}

/** Kernels use fixed addresses in the first 1 MiB of memory. */
async function buildWasm(output, source, features) {
  const options = ['--runtime', 'stub', '-O3', '--noAssert', '--memoryBase', '1048576', ...features];
  await whenChanged(output, [source, 'assembly/layout.ts'], options, async (target) => {
    const { default: asc } = await import('assemblyscript/asc');
    const name = source.replace('assembly/', '');
    const files = new Map();
    const { error, stderr } = await asc.main([name, '-o', 'out.wasm', ...options], {
      readFile: (file) => {
        const path = join(root, 'assembly', file);
        return existsSync(path) ? readFileSync(path, 'utf8') : null;
      },
      writeFile: (file, content) => files.set(file, content),
      listFiles: () => [],
    });
    if (error) throw new Error(`cannot build ${source}: ${error.message}\n${stderr.toString()}`);
    // By rename, so that a concurrent reader sees either the old or the new module.
    writeFileSync(`${target}.part`, files.get('out.wasm'));
    renameSync(`${target}.part`, target);
    console.log(`built wasm/${output} (${files.get('out.wasm').length} bytes)`);
  });
}

mkdirSync(join(root, 'wasm'), { recursive: true });
await buildWasm('keccak-simd.wasm', 'assembly/keccak-simd.ts', ['--enable', 'simd']);
await buildWasm('keccak-plain.wasm', 'assembly/keccak-plain.ts', []);
await buildWasm('code-simd.wasm', 'assembly/code.ts', ['--enable', 'simd']);
await buildWasm('code-plain.wasm', 'assembly/code.ts', []);

const native = buildNative();
if (native !== undefined) console.log(native);
