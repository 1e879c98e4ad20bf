import { readFileSync } from 'node:fs';
import type { HashEngine } from './engine.ts';
import { type WasmEngineName, wasmEngineOf, wasmFiles } from './wasm-engine.ts';
import { cannotRun, wasm } from './wasm-module.ts';

/** @throws {MillraceError} E_ENGINE if the kernels are not built, or WebAssembly here lacks a required feature */
export function createWasmEngine(name: WasmEngineName): HashEngine {
  const instance = (file: string) =>
    new wasm.Instance(new wasm.Module(readFileSync(new URL(`../../wasm/${file}`, import.meta.url))), {});
  try {
    return wasmEngineOf(name, { hash: instance(wasmFiles[name].hash), code: instance(wasmFiles[name].code) });
  } catch (cause) {
    throw cannotRun(name, cause);
  }
}
