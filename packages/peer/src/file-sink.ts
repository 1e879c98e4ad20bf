import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { flush, MillraceError, type RandomSource, toHex } from '@millrace/base';
import type { Sink } from './transfer.ts';

/**
 * A file that appears under its name only once it is complete. Special files (a device, a named pipe) are written
 * directly.
 * @param replace whether an existing file may be replaced
 * @throws {MillraceError} E_CONFLICT, E_INPUT
 */
export async function openFileSink(path: string, replace: boolean, random: RandomSource): Promise<Sink> {
  const there = await kindOf(path);
  if (there === 'folder') throw new MillraceError('E_INPUT', `${path} is a folder`);
  if (there === 'special') return deviceSink(await opened(path, 'w'));
  if (there === 'file' && !replace) throw exists(path);
  const staged = join(dirname(path), `.${basename(path)}.${toHex(random(6))}.part`);
  const file = await opened(staged, 'wx');
  return {
    write: (chunk) => writeAll(file, chunk),
    commit: async () => {
      await file.sync();
      await file.close();
      if (!replace && (await kindOf(path)) !== undefined) throw exists(path);
      await rename(staged, path);
      await flush(dirname(path));
    },
    discard: async () => {
      await file.close().catch(() => undefined); // it may already be closed
      await rm(staged, { force: true });
    },
  };
}

function deviceSink(file: FileHandle): Sink {
  return {
    write: (chunk) => writeAll(file, chunk),
    commit: () => file.close(),
    discard: () => file.close().catch(() => undefined), // it may already be closed
  };
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at)).bytesWritten;
}

function exists(path: string): MillraceError {
  return new MillraceError('E_CONFLICT', `${path} exists; --force replaces it`);
}

async function opened(path: string, flags: string): Promise<FileHandle> {
  try {
    return await open(path, flags);
  } catch (cause) {
    throw new MillraceError('E_INPUT', `cannot write ${path}`, { cause });
  }
}

async function kindOf(path: string): Promise<'file' | 'folder' | 'special' | undefined> {
  try {
    const found = await stat(path);
    if (found.isDirectory()) return 'folder';
    return found.isFile() ? 'file' : 'special';
  } catch {
    return undefined;
  }
}
