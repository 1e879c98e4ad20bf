import { MillraceError } from '@millrace/base/core';

// The part of the WebAssembly API used here. The type library for Node does not declare it.
interface WasmMemory {
  readonly buffer: ArrayBuffer;
}
/** A compiled kernel. It may be sent to a worker. */
export type WasmModule = object;
export interface WasmInstance {
  readonly exports: Readonly<Record<string, unknown>>;
}
interface WasmApi {
  readonly Memory: new (descriptor: { initial: number }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => WasmModule;
  readonly Instance: new (module: WasmModule, imports: object) => WasmInstance;
  compile(bytes: Uint8Array): Promise<WasmModule>;
  instantiate(module: WasmModule, imports: object): Promise<WasmInstance>;
}
declare const WebAssembly: WasmApi;
export const wasm: WasmApi = WebAssembly;

/** The two kernels of an engine: one hashes, the other computes parity and solves. */
export interface WasmKernels<T> {
  readonly hash: T;
  readonly code: T;
}

/** Type of a kernel's exports: numbers in, a number or nothing out. */
type WasmCall = (...numbers: number[]) => number;

/**
 * The functions that a kernel must export, and its memory, which never grows.
 * @throws {TypeError} if an export is missing
 */
export function callsOf<Name extends string>(
  { exports }: WasmInstance,
  names: readonly Name[],
): Readonly<Record<Name, WasmCall>> & { readonly memory: ArrayBuffer } {
  if (!(exports.memory instanceof wasm.Memory)) throw new TypeError('the kernel exports no memory');
  const calls = names.map((name) => [name, exportedCall(exports[name])] as const);
  return { ...(Object.fromEntries(calls) as Record<Name, WasmCall>), memory: exports.memory.buffer };
}

function exportedCall(value: unknown): WasmCall {
  if (typeof value !== 'function') throw new TypeError('an export of the kernel is missing');
  return value as WasmCall;
}

export function cannotRun(name: string, cause: unknown): MillraceError {
  return new MillraceError('E_ENGINE', `the WebAssembly kernels of ${name} cannot run here`, { cause });
}
