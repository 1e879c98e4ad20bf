import { readdir, readFile } from 'node:fs/promises';
import { type Bytes, MillraceError, toMillraceError } from '@millrace/base';

/** Undefined if the file does not exist. */
export async function readIfThere(path: string): Promise<Bytes | undefined> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw failure(`cannot read ${path}`, error);
  }
}

/** Names in the folder, sorted; empty if the folder does not exist. */
export async function listIfThere(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw failure(`cannot read ${folder}`, error);
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function failure(what: string, cause: unknown): MillraceError {
  const known = toMillraceError(cause);
  return known.code === 'E_INTERNAL' ? new MillraceError('E_STORE', what, { cause }) : known;
}
