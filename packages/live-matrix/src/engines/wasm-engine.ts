import { readFileSync } from 'node:fs';
import { MillraceError } from '@millrace/base';
import type { HashEngine, HashKey } from './engine.ts';
import { loadBlock, roundConstants } from './keccak.ts';
import { withReference } from './ts-engine.ts';

// The part of WebAssembly's API that is used here: the compiler's library for Node has none of it.
interface WasmMemory {
  readonly buffer: ArrayBuffer;
}
declare const WebAssembly: {
  readonly Memory: new (descriptor: { initial: number }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: Readonly<Record<string, unknown>> };
};

/** Exports of assembly/keccak-*.ts. */
interface Kernel {
  readonly memory: WasmMemory;
  hashBatch(count: number, rounds: number): void;
  hashRange(first: number, count: number, rounds: number): void;
  wipe(): void;
}

// Places in the kernel's memory: assembly/layout.ts.
const BLOCK = 1024;
const CONSTANTS = 2048;
const VALUES = 4096;
const RESULTS = VALUES + 4096 * 4;
const CHUNK = 4096;

const modules = {
  'wasm-simd': { file: 'keccak-simd.wasm', detail: 'WebAssembly SIMD, 2 hashes side by side' },
  wasm: { file: 'keccak-plain.wasm', detail: 'WebAssembly without SIMD' },
} as const;

/** @throws {MillraceError} E_ENGINE when the module is not built, or WebAssembly here lacks what it needs. */
export function createWasmEngine(name: 'wasm-simd' | 'wasm'): HashEngine {
  const kernel = instantiate(modules[name].file);
  const bytes = kernel.memory.buffer;
  const block = new Int32Array(bytes, BLOCK, 50);
  const values = new Uint32Array(bytes, VALUES, CHUNK);
  const results = new Uint32Array(bytes, RESULTS, 2 * CHUNK);
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

  return withReference({
    name,
    detail: modules[name].detail,
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
    hashRange(key, first, out) {
      withKey(key, 0, (rounds) => {
        for (let at = 0; at < out.length; at += CHUNK) {
          const count = Math.min(CHUNK, out.length - at);
          kernel.hashRange(first + at, count, rounds);
          out.set(results.subarray(0, count), at);
        }
      });
    },
  });
}

function instantiate(file: string): Kernel {
  try {
    const module = new WebAssembly.Module(readFileSync(new URL(`../../wasm/${file}`, import.meta.url)));
    const { memory, hashBatch, hashRange, wipe } = new WebAssembly.Instance(module, {}).exports;
    if (!(memory instanceof WebAssembly.Memory)) throw new TypeError(`${file} exports no memory`);
    return {
      memory,
      hashBatch: exported(hashBatch),
      hashRange: exported(hashRange),
      wipe: exported(wipe),
    };
  } catch (cause) {
    throw new MillraceError('E_ENGINE', `the WebAssembly kernel ${file} cannot run here`, { cause });
  }
}

function exported(value: unknown): (...numbers: number[]) => void {
  if (typeof value !== 'function') throw new TypeError('an export of the kernel is missing');
  return (...numbers) => {
    value(...numbers);
  };
}
