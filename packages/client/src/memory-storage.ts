import { type Bytes, concatBytes, copyBytes, MillraceError } from '@millrace/base';
import {
  type PreparedDesign,
  type PreparedState,
  type PreparedWriter,
  SEALED_BYTES,
  type SourceIdentity,
  sameSource,
} from './prepared.ts';
import type { ClientStorage } from './storage.ts';

interface Kept {
  readonly state: PreparedState;
  readonly manifest: Bytes;
  readonly keys: Bytes;
  readonly segments: readonly Bytes[];
}

/**
 * Keeps everything in memory, including sealed segments: for tests, and for pages that upload small designs at once.
 */
export function createMemoryStorage(): ClientStorage {
  const values = new Map<string, Bytes>();
  const designs = new Map<string, Kept>();
  return {
    read: async (path) => {
      const value = values.get(path);
      return value && copyBytes(value);
    },
    replace: async (path, bytes) => void values.set(path, copyBytes(bytes)),
    prepared: {
      find: async (source: SourceIdentity) => {
        const kept = [...designs.values()].find(({ state }) => sameSource(state.source, source));
        return kept && preparedOf(designs, kept, true);
      },
      begin: async () => writerTo(designs),
    },
  };
}

function writerTo(designs: Map<string, Kept>): PreparedWriter {
  const segments: Bytes[] = [];
  return {
    append: async (sealed) => {
      if (sealed.length !== SEALED_BYTES)
        throw new MillraceError('E_INTERNAL', `a sealed segment has ${sealed.length} bytes`);
      segments.push(copyBytes(sealed));
    },
    finish: async (state, manifest, keys) => {
      if (segments.length !== state.segments)
        throw new MillraceError('E_INTERNAL', `${segments.length} segments of ${state.segments}`);
      const kept = { state, manifest: copyBytes(manifest), keys: copyBytes(keys), segments };
      designs.set(state.design, kept);
      return preparedOf(designs, kept, false);
    },
    abandon: async () => void segments.splice(0),
  };
}

function preparedOf(designs: Map<string, Kept>, kept: Kept, earlier: boolean): PreparedDesign {
  const { state, manifest, keys, segments } = kept;
  return {
    state,
    earlier,
    manifest: async () => copyBytes(manifest),
    keys: async () => copyBytes(keys),
    openSegments: async () => ({
      read: async (first, count = 1) => {
        if (first + count > segments.length)
          throw new MillraceError('E_UPLOAD', `there is no segment ${first + count}`);
        return concatBytes(...segments.slice(first, first + count));
      },
      close: async () => undefined,
    }),
    remove: async () => void designs.delete(state.design),
  };
}
