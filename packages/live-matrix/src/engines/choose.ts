import { MillraceError } from '@millrace/base/core';
import { type EngineName, type EngineSetting, engineNames, type HashEngine } from './engine.ts';
import { createNativeEngine } from './native-engine.ts';
import { createWasmEngine } from './node-wasm.ts';
import { createTsEngine } from './ts-engine.ts';

const makers: Readonly<Record<EngineName, () => HashEngine>> = {
  native: () => createNativeEngine(),
  'wasm-simd': () => createWasmEngine('wasm-simd'),
  wasm: () => createWasmEngine('wasm'),
  ts: createTsEngine,
};

/**
 * The fastest engine that runs here, or the one that `setting` forces.
 * @throws {MillraceError} E_ENGINE if the forced engine cannot run
 */
export function createEngine(setting: EngineSetting = 'auto'): HashEngine {
  if (setting !== 'auto') return makers[setting]();
  for (const name of engineNames) {
    const engine = tryEngine(name);
    if (engine !== undefined) return engine;
  }
  throw new MillraceError('E_ENGINE', 'no hash engine runs here');
}

/** Every engine that runs here, fastest first. */
export function availableEngines(): readonly HashEngine[] {
  return engineNames.map(tryEngine).filter((engine) => engine !== undefined);
}

function tryEngine(name: EngineName): HashEngine | undefined {
  try {
    return makers[name]();
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'E_ENGINE') return undefined;
    throw error;
  }
}
