import { MillraceError } from '@millrace/base/core';
import type { EngineName, HashEngine } from '../engines/engine.ts';
import { createTsEngine } from '../engines/ts-engine.ts';
import { type WasmEngineName, wasmEngineOf } from '../engines/wasm-engine.ts';
import { cannotRun, type WasmKernels, type WasmModule, wasm } from '../engines/wasm-module.ts';

export type BrowserEngineName = Exclude<EngineName, 'native'>;

/** Compiled kernels of an engine, which can be sent to a worker. The reference engine has none. */
export interface EngineParts {
  readonly name: BrowserEngineName;
  readonly kernels?: WasmKernels<WasmModule>;
}

/** Literal addresses, so that bundlers find and include the files. */
const addresses: Readonly<Record<WasmEngineName, WasmKernels<() => URL>>> = {
  'wasm-simd': {
    hash: () => new URL('../../wasm/keccak-simd.wasm', import.meta.url),
    code: () => new URL('../../wasm/code-simd.wasm', import.meta.url),
  },
  wasm: {
    hash: () => new URL('../../wasm/keccak-plain.wasm', import.meta.url),
    code: () => new URL('../../wasm/code-plain.wasm', import.meta.url),
  },
};

const names: readonly BrowserEngineName[] = ['wasm-simd', 'wasm', 'ts'];

/**
 * Loads the kernels of the fastest engine that runs here, or of the one that `setting` forces.
 * @throws {MillraceError} E_ENGINE if the forced engine cannot run
 */
export async function loadParts(setting: BrowserEngineName | 'auto'): Promise<EngineParts> {
  if (setting !== 'auto') return partsOf(setting);
  for (const name of names) {
    const parts = await partsOf(name).catch((error: unknown) => {
      if (error instanceof MillraceError && error.code === 'E_ENGINE') return undefined;
      throw error;
    });
    if (parts !== undefined) return parts;
  }
  throw new MillraceError('E_ENGINE', 'no hash engine runs here');
}

async function partsOf(name: BrowserEngineName): Promise<EngineParts> {
  if (name === 'ts') return { name };
  const { hash, code } = addresses[name];
  try {
    const kernels = { hash: await compile(hash()), code: await compile(code()) };
    await engineFrom({ name, kernels }); // a module that compiles may still lack a required feature
    return { name, kernels };
  } catch (cause) {
    throw cannotRun(name, cause);
  }
}

async function compile(address: URL): Promise<WasmModule> {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address.pathname} was answered with ${answer.status}`);
  return wasm.compile(new Uint8Array(await answer.arrayBuffer()));
}

/** A new engine for each caller: kernels keep state in their memory. */
export async function engineFrom({ name, kernels }: EngineParts): Promise<HashEngine> {
  if (name === 'ts' || kernels === undefined) return createTsEngine();
  const [hash, code] = await Promise.all([wasm.instantiate(kernels.hash, {}), wasm.instantiate(kernels.code, {})]);
  return wasmEngineOf(name, { hash, code });
}

/**
 * The fastest engine that runs here, or the one that `setting` forces. Loads its kernels from the directory of this
 * module.
 * @throws {MillraceError} E_ENGINE
 */
export async function loadEngine(setting: BrowserEngineName | 'auto' = 'auto'): Promise<HashEngine> {
  return engineFrom(await loadParts(setting));
}
