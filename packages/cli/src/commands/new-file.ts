import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { flush, MillraceError } from '@millrace/base';

/** A file that has its name only once it is whole. */
export interface NewFile {
  /** Path of what is written until then. */
  readonly part: string;
  finish(): Promise<void>;
  discard(): Promise<void>;
}

/** @throws {MillraceError} E_CONFLICT if there is one already */
export async function newFile(path: string): Promise<NewFile> {
  const part = `${path}.part`;
  try {
    // The name is taken by an empty file, so that two commands cannot write the same file.
    await (await open(path, 'wx', 0o644)).close();
  } catch (cause) {
    throw new MillraceError('E_CONFLICT', `cannot make ${path}: it exists, or its folder does not`, { cause });
  }
  return {
    part,
    finish: async () => {
      await flush(part);
      await rename(part, path);
      await flush(dirname(path));
    },
    discard: async () => {
      await rm(part, { force: true });
      await rm(path, { force: true });
    },
  };
}
