import { SUPERBLOCK } from '../table/hint-table.ts';
import type { HashEngine, HashKey, HashOnly } from './engine.ts';
import { loadBlock, roundConstants } from './keccak.ts';
import { withReference } from './ts-engine.ts';
import { createWasmCode } from './wasm-code.ts';
import { callsOf, type WasmInstance, type WasmKernels } from './wasm-module.ts';

// Addresses in the kernel's memory, from assembly/layout.ts.
const BLOCK = 1024;
const CONSTANTS = 2048;
const VALUES = 4096;
const RESULTS = VALUES + 4096 * 4;
const CHUNK = 4096;
const RANGE = 0x20000;

export type WasmEngineName = 'wasm-simd' | 'wasm';

/** Files of the kernels in the package's folder `wasm/`. */
export const wasmFiles: Readonly<Record<WasmEngineName, WasmKernels<string>>> = {
  'wasm-simd': { hash: 'keccak-simd.wasm', code: 'code-simd.wasm' },
  wasm: { hash: 'keccak-plain.wasm', code: 'code-plain.wasm' },
};

const details = {
  'wasm-simd': 'WebAssembly SIMD, 2 hashes side by side, two pairs in turn',
  wasm: 'WebAssembly without SIMD',
} as const;

/** @throws {TypeError} if the kernels lack an export */
export function wasmEngineOf(name: WasmEngineName, kernels: WasmKernels<WasmInstance>): HashEngine {
  const kernel = callsOf(kernels.hash, ['hashBatch', 'hashSuperblock', 'wipe']);
  const bytes = kernel.memory;
  const block = new Int32Array(bytes, BLOCK, 50);
  const values = new Uint32Array(bytes, VALUES, CHUNK);
  const results = new Uint32Array(bytes, RESULTS, 2 * CHUNK);
  const superblock = new Uint32Array(bytes, RANGE, SUPERBLOCK);
  new Int32Array(bytes, CONSTANTS, 48).set(roundConstants);

  function withKey(key: HashKey, high: number, run: (rounds: number) => void): void {
    const { rounds } = loadBlock(block, key);
    block[1] = high;
    try {
      run(rounds);
    } finally {
      kernel.wipe();
    }
  }

  const hashes: HashOnly = {
    name,
    detail: details[name],
    hashBatch(key, high, input, out) {
      withKey(key, high, (rounds) => {
        for (let at = 0; at < input.length; at += CHUNK) {
          const part = input.subarray(at, at + CHUNK);
          values.set(part);
          kernel.hashBatch(part.length, rounds);
          out.set(results.subarray(0, 2 * part.length), 2 * at);
        }
      });
    },
    hashRange(key, first, out, high = 0) {
      withKey(key, high, (rounds) => {
        for (let at = 0; at < out.length; ) {
          const from = first + at;
          const left = out.length - at;
          const toBoundary = SUPERBLOCK - (from % SUPERBLOCK);
          if (toBoundary === SUPERBLOCK && left >= SUPERBLOCK) {
            kernel.hashSuperblock(from, rounds);
            out.set(superblock, at);
            at += SUPERBLOCK;
          } else {
            const count = Math.min(CHUNK, left, toBoundary);
            for (let i = 0; i < count; i++) values[i] = from + i;
            kernel.hashBatch(count, rounds);
            for (let i = 0; i < count; i++) out[at + i] = results[2 * i] ?? 0;
            at += count;
          }
        }
      });
    },
  };
  return { ...withReference(hashes), ...createWasmCode(kernels.code) };
}
