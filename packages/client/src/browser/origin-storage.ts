import { type Bytes, MillraceError, parse, toHex } from '@millrace/base';
import {
  type PreparedDesign,
  type PreparedDesigns,
  type PreparedState,
  type PreparedWriter,
  preparedStateSchema,
  SEALED_BYTES,
  sameSource,
} from '../prepared.ts';
import type { ClientStorage } from '../storage.ts';

// Storage in the files that a browser keeps for an origin (File System standard). Pages of other origins, and other
// programs that follow the rules, do not see them. Prepared designs can be written in workers only.

/** The part of FileSystemDirectoryHandle used here. */
export interface OriginFolder {
  getDirectoryHandle(name: string, options?: { readonly create: boolean }): Promise<OriginFolder>;
  getFileHandle(name: string, options?: { readonly create: boolean }): Promise<OriginFile>;
  removeEntry(name: string, options?: { readonly recursive: boolean }): Promise<void>;
  keys(): AsyncIterable<string>;
}

/** The part of FileSystemFileHandle used here. */
export interface OriginFile {
  getFile(): Promise<Blob>;
  /** What is written replaces the file when it is closed. */
  createWritable(): Promise<{ write(bytes: Uint8Array): Promise<void>; close(): Promise<void> }>;
  /** In workers only. Nobody else opens, moves or removes the file until it is closed. */
  createSyncAccessHandle?(): Promise<SyncFile>;
}

interface SyncFile {
  write(bytes: Uint8Array, options: { readonly at: number }): number;
  flush(): void;
  close(): void;
}

export interface OriginStorage extends ClientStorage {
  readonly prepared: PreparedDesigns & {
    /** Designs that are sealed and whose upload has not ended. */
    list(): Promise<readonly PreparedDesign[]>;
  };
}

const files = { state: 'state.json', manifest: 'manifest', keys: 'keys', segments: 'segments' } as const;
const PREPARED = 'prepared';

/** @param root a folder for one user */
export function createOriginStorage(root: OriginFolder): OriginStorage {
  const prepared = async () => root.getDirectoryHandle(PREPARED, { create: true });
  /** Removes what preparations left that were ended. Those of other pages are open, so they stay. */
  const list = async (): Promise<PreparedDesign[]> => {
    const folder = await prepared();
    const found: PreparedDesign[] = [];
    for await (const name of folder.keys()) {
      const home = await folder.getDirectoryHandle(name);
      const state = await readFile(home, files.state);
      if (state !== undefined) found.push(preparedIn(folder, name, stateOf(state), true));
      else await folder.removeEntry(name, { recursive: true }).catch(() => undefined);
    }
    return found;
  };
  return {
    read: async (path) => {
      const { folder, name } = await placeOf(root, path, false);
      return folder && readFile(folder, name);
    },
    replace: async (path, bytes) => {
      const { folder, name } = await placeOf(root, path, true);
      if (folder !== undefined) await writeFile(folder, name, bytes);
    },
    prepared: {
      list,
      find: async (source) => (await list()).find(({ state }) => sameSource(state.source, source)),
      begin: async (random) => writePrepared(await prepared(), toHex(random(8))),
    },
  };
}

function stateOf(bytes: Uint8Array): PreparedState {
  return parse(preparedStateSchema, JSON.parse(new TextDecoder().decode(bytes)), files.state, 'E_CONFIG');
}

async function writePrepared(parent: OriginFolder, name: string): Promise<PreparedWriter> {
  const folder = await parent.getDirectoryHandle(name, { create: true });
  const handle = await folder.getFileHandle(files.segments, { create: true });
  if (handle.createSyncAccessHandle === undefined)
    throw new MillraceError('E_STATE', 'this browser seals designs in workers only');
  const segments = await handle.createSyncAccessHandle();
  let count = 0;
  return {
    append: async (sealed) => {
      if (sealed.length !== SEALED_BYTES)
        throw new MillraceError('E_INTERNAL', `a sealed segment has ${sealed.length} bytes`);
      const written = await stored(() => segments.write(sealed, { at: count * SEALED_BYTES }));
      if (written !== sealed.length) throw full();
      count += 1;
    },
    finish: async (state, manifest, keys) => {
      if (count !== state.segments) throw new MillraceError('E_INTERNAL', `${count} segments of ${state.segments}`);
      await stored(() => segments.flush());
      segments.close();
      await writeFile(folder, files.manifest, manifest);
      await writeFile(folder, files.keys, keys);
      // The last file: without it, the folder is a leftover.
      await writeFile(folder, files.state, new TextEncoder().encode(JSON.stringify(state)));
      return preparedIn(parent, name, state, false);
    },
    abandon: async () => {
      segments.close();
      await parent.removeEntry(name, { recursive: true });
    },
  };
}

function preparedIn(parent: OriginFolder, name: string, state: PreparedState, earlier: boolean): PreparedDesign {
  const read = async (file: string): Promise<Bytes> => {
    const bytes = await readFile(await parent.getDirectoryHandle(name), file);
    if (bytes === undefined) throw new MillraceError('E_UPLOAD', `the prepared design has no ${file}`);
    return bytes;
  };
  return {
    state,
    earlier,
    manifest: () => read(files.manifest),
    keys: () => read(files.keys),
    openSegments: async () => {
      const folder = await parent.getDirectoryHandle(name);
      const blob = await (await folder.getFileHandle(files.segments)).getFile();
      return {
        read: async (first, count = 1) => {
          const [from, to] = [first * SEALED_BYTES, (first + count) * SEALED_BYTES];
          const sealed = new Uint8Array(await blob.slice(from, to).arrayBuffer());
          if (sealed.length !== to - from)
            throw new MillraceError('E_UPLOAD', `the prepared design ends before segment ${first + count}`);
          return sealed;
        },
        close: async () => undefined,
      };
    },
    remove: () => parent.removeEntry(name, { recursive: true }),
  };
}

async function placeOf(root: OriginFolder, path: string, create: boolean) {
  const names = path.split('/');
  const name = names.pop() ?? '';
  let folder: OriginFolder | undefined = root;
  for (const step of names) folder = folder && (await ifThere(folder.getDirectoryHandle(step, { create })));
  return { folder, name };
}

async function readFile(folder: OriginFolder, name: string): Promise<Bytes | undefined> {
  const file = await ifThere(folder.getFileHandle(name));
  return file && new Uint8Array(await (await file.getFile()).arrayBuffer());
}

async function writeFile(folder: OriginFolder, name: string, bytes: Uint8Array): Promise<void> {
  await stored(async () => {
    const file = await folder.getFileHandle(name, { create: true });
    const writable = await file.createWritable();
    await writable.write(bytes);
    await writable.close();
  });
}

async function ifThere<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Error && error.name === 'NotFoundError') return undefined;
    throw error;
  }
}

/** @throws {MillraceError} E_DISK_FULL if the browser gives this origin no more room */
async function stored<T>(write: () => T | Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'QuotaExceededError') throw full(cause);
    throw cause;
  }
}

function full(cause?: unknown): MillraceError {
  return new MillraceError('E_DISK_FULL', 'the browser has no room left for the sealed design', { cause });
}
