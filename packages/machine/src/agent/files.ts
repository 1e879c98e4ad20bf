import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Bytes, MillraceError, toMillraceError } from '@millrace/base';

/**
 * The file is there whole or not at all, whatever happens in between: temporary file, fsync, rename, fsync of the folder.
 * @throws {MillraceError} E_DISK_FULL or E_STORE
 */
export async function writeDurably(path: string, content: Uint8Array | string): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true });
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    throw failure(`cannot write ${path}`, error);
  }
}

/** Renames or, without `to`, removes; durable when it returns. A file that is gone already is no error. */
export async function moveDurably(path: string, to?: string): Promise<void> {
  try {
    if (to === undefined) await rm(path, { force: true });
    else await rename(path, to);
    await syncFolder(dirname(path));
  } catch (error) {
    if (isMissing(error)) return;
    throw failure(`cannot ${to === undefined ? 'remove' : 'rename'} ${path}`, error);
  }
}

/** Undefined when there is no such file. */
export async function readIfThere(path: string): Promise<Bytes | undefined> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw failure(`cannot read ${path}`, error);
  }
}

/** Names in the folder, sorted; none when there is no such folder. */
export async function listIfThere(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw failure(`cannot read ${folder}`, error);
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function failure(what: string, cause: unknown): MillraceError {
  const known = toMillraceError(cause);
  return known.code === 'E_INTERNAL' ? new MillraceError('E_STORE', what, { cause }) : known;
}
