import type { Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { MillraceError, wipe } from '@millrace/base';
import type { ByteSource, DesignSecrets, PrepareOptions } from '../prepare.ts';
import { prepare } from '../prepare.ts';
import type { PreparedDesign } from '../prepared.ts';
import { createSealer } from '../sealer.ts';
import type { Session } from '../session.ts';
import { hasSystemCode } from './files.ts';

const CHUNK_BYTES = 256 * 1024;

/** Seals a file; see `prepare`. @throws {MillraceError} as `prepare`, and E_NOT_FOUND */
export async function prepareFile(
  session: Session,
  path: string,
  options: PrepareOptions,
  progress: (done: number, total: number) => void,
  take?: (secrets: DesignSecrets) => void,
): Promise<PreparedDesign> {
  const file = await openFile(path);
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new MillraceError('E_INPUT', `${path} is not a file`);
    const { drawThumbnail } = await import('@millrace/toolpath/png');
    const source = sourceOf(file, stats, path);
    return await prepare(session, source, options, createSealer(drawThumbnail), progress, take);
  } finally {
    await file.close();
  }
}

function sourceOf(file: FileHandle, before: Stats, path: string): ByteSource {
  return {
    size: before.size,
    identity: { path, size: before.size, mtimeMs: before.mtimeMs },
    chunks: () => read(file),
    requireUnchanged: async () => {
      // If a slicer is still writing, the file contains only part of the design.
      const { size, mtimeMs } = await file.stat();
      if (size !== before.size || mtimeMs !== before.mtimeMs)
        throw new MillraceError('E_CONFLICT', `${path} changed while it was read`);
    },
  };
}

/** One buffer for the whole file: each chunk is wiped when the next is requested. */
async function* read(file: FileHandle): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  try {
    for (let done = 0; ; ) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, done);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
      done += bytesRead;
    }
  } finally {
    wipe(buffer);
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (cause) {
    if (hasSystemCode(cause, 'ENOENT')) throw new MillraceError('E_NOT_FOUND', `there is no file ${path}`, { cause });
    throw new MillraceError('E_INPUT', `cannot read ${path}`, { cause });
  }
}
