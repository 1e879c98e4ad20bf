import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import type { Addon } from './native-addon.ts';

/** The loaded addon, and one line for each addon that could not be loaded. */
export interface LoadedAddon {
  readonly addon?: Addon;
  /** Path of the addon within the package. */
  readonly place?: string;
  readonly faults: readonly string[];
}

/**
 * Loads the addon: first the prebuilt one from the package, then the one built locally. A prebuilt file is loaded only
 * if it matches the SHA-256 stored next to it: a damaged addon can crash the whole process.
 * @param native URL of the package's folder `native/`, ending in a slash
 */
export function loadAddon(native: URL): LoadedAddon {
  const faults: string[] = [];
  for (const place of [`prebuilds/${process.platform}-${process.arch}/live_matrix.node`, 'build/live_matrix.node']) {
    const file = fileURLToPath(new URL(place, native));
    if (!existsSync(file)) continue;
    try {
      if (place.startsWith('prebuilds/')) requireWhole(file);
      const addon = createRequire(import.meta.url)(file) as Addon;
      addon.kernelNames();
      return { addon, place: `native/${place}`, faults };
    } catch (error) {
      faults.push(`native/${place} is not used: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { faults };
}

function requireWhole(file: string): void {
  const wanted = readFileSync(`${file}.sha256`, 'utf8').trim();
  const found = createHash('sha256').update(readFileSync(file)).digest('hex');
  if (found !== wanted) throw new Error('it is damaged: its SHA-256 differs from the one in the file beside it');
}

let loaded: LoadedAddon | undefined;

/** The addon of this package. A file that cannot be loaded is reported once, as a warning of the process. */
export function ownAddon(): LoadedAddon {
  if (loaded !== undefined) return loaded;
  loaded = loadAddon(new URL('../../native/', import.meta.url));
  if (isMainThread && loaded.faults.length > 0) {
    const instead = loaded.place === undefined ? 'WebAssembly runs' : `${loaded.place} runs`;
    process.emitWarning(`${loaded.faults.join('; ')}; ${instead} instead`, 'MillraceWarning');
  }
  return loaded;
}
