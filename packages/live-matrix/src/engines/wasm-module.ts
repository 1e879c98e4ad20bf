import { readFileSync } from 'node:fs';
import { MillraceError } from '@millrace/base/core';

// The part of WebAssembly's API that is used here: the compiler's library for Node has none of it.
interface WasmMemory {
  readonly buffer: ArrayBuffer;
}
declare const WebAssembly: {
  readonly Memory: new (descriptor: { initial: number }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: Readonly<Record<string, unknown>> };
};

/** Numbers in, a number or nothing out: what kernels export. */
type WasmCall = (...numbers: number[]) => number;

/**
 * Loads a built kernel with the functions that it must export, and its memory, which never grows.
 * @throws {MillraceError} E_ENGINE when it is not built, or WebAssembly here lacks what it needs
 */
export function instantiate<Name extends string>(
  file: string,
  names: readonly Name[],
): Readonly<Record<Name, WasmCall>> & { readonly memory: ArrayBuffer } {
  try {
    const module = new WebAssembly.Module(readFileSync(new URL(`../../wasm/${file}`, import.meta.url)));
    const { exports } = new WebAssembly.Instance(module, {});
    if (!(exports.memory instanceof WebAssembly.Memory)) throw new TypeError(`${file} exports no memory`);
    const calls = names.map((name) => [name, exportedCall(exports[name])] as const);
    return { ...(Object.fromEntries(calls) as Record<Name, WasmCall>), memory: exports.memory.buffer };
  } catch (cause) {
    throw new MillraceError('E_ENGINE', `the WebAssembly kernel ${file} cannot run here`, { cause });
  }
}

function exportedCall(value: unknown): WasmCall {
  if (typeof value !== 'function') throw new TypeError('an export of the kernel is missing');
  return value as WasmCall;
}
