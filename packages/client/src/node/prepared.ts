import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { flush, MillraceError, parse, type RandomSource, toHex } from '@millrace/base';
import {
  type PreparedDesign,
  type PreparedState,
  type PreparedWriter,
  preparedStateSchema,
  SEALED_BYTES,
  type SourceIdentity,
  sameSource,
} from '../prepared.ts';
import {
  hasSystemCode,
  makeFolder,
  readBytes,
  readJsonIfThere,
  toJsonFile,
  writePublic,
  writeSecret,
} from './files.ts';

const files = { state: 'state.json', manifest: 'manifest', keys: 'keys', segments: 'segments' } as const;

export async function writePrepared(uploads: string, random: RandomSource): Promise<PreparedWriter> {
  const folder = await makeFolder(join(uploads, `.preparing-${process.pid}-${toHex(random(4))}`));
  const segments = await open(join(folder, files.segments), 'wx', 0o600);
  let count = 0;
  return {
    append: async (sealed) => {
      if (sealed.length !== SEALED_BYTES) {
        throw new MillraceError('E_INTERNAL', `a sealed segment has ${sealed.length} bytes`);
      }
      await writeAll(segments, sealed);
      count += 1;
    },
    finish: async (state, manifest, keys) => {
      if (count !== state.segments) throw new MillraceError('E_INTERNAL', `${count} segments of ${state.segments}`);
      await segments.sync();
      await segments.close();
      await writeSecret(join(folder, files.manifest), manifest);
      await writeSecret(join(folder, files.keys), keys);
      await writePublic(join(folder, files.state), toJsonFile(state));
      const home = join(uploads, state.design);
      await rename(folder, home);
      await flush(uploads);
      return preparedIn(home, state, false);
    },
    abandon: async () => {
      await segments.close().catch(() => undefined);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let offset = 0; offset < bytes.length; ) {
    offset += (await file.write(bytes, offset, bytes.length - offset)).bytesWritten;
  }
}

/** Finds a design prepared from this file whose upload was interrupted. */
export async function findPrepared(uploads: string, source: SourceIdentity): Promise<PreparedDesign | undefined> {
  for (const entry of await entriesOf(uploads)) {
    if (!/^[0-9a-f]{32}$/.test(entry)) continue;
    const folder = join(uploads, entry);
    const json = await readJsonIfThere(join(folder, files.state));
    if (json === undefined) continue;
    const state = parse(preparedStateSchema, json, join(folder, files.state), 'E_CONFIG');
    if (sameSource(state.source, source)) return preparedIn(folder, state, true);
  }
  return undefined;
}

/** Removes leftovers of preparations that were killed. */
export async function sweepPreparations(uploads: string, isAlive: (pid: number) => boolean): Promise<void> {
  for (const entry of await entriesOf(uploads)) {
    const pid = /^\.preparing-(\d+)-/.exec(entry)?.[1];
    if (pid !== undefined && Number(pid) !== process.pid && !isAlive(Number(pid))) {
      await rm(join(uploads, entry), { recursive: true, force: true });
    }
  }
}

async function entriesOf(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT')) return [];
    throw error;
  }
}

function preparedIn(folder: string, state: PreparedState, earlier: boolean): PreparedDesign {
  return {
    state,
    earlier,
    manifest: () => readBytes(join(folder, files.manifest)),
    keys: () => readBytes(join(folder, files.keys)),
    openSegments: async () => {
      const file = await open(join(folder, files.segments), 'r');
      return {
        read: async (first, count = 1) => {
          const sealed = new Uint8Array(count * SEALED_BYTES);
          const { bytesRead } = await file.read(sealed, 0, sealed.length, first * SEALED_BYTES);
          if (bytesRead !== sealed.length) {
            throw new MillraceError('E_UPLOAD', `${join(folder, files.segments)} ends before segment ${first + count}`);
          }
          return sealed;
        },
        close: () => file.close(),
      };
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
