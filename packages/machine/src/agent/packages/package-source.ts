import { type FileHandle, open } from 'node:fs/promises';
import { type Bytes, MillraceError } from '@millrace/base';
import type { PackageSource } from '@millrace/vault';
import type { QueuedPackage } from './make-package.ts';

/** A package in a file, on any disk. */
export type PackageFileSource = Awaited<ReturnType<QueuedPackage['open']>>;

/** @throws {MillraceError} E_NOT_FOUND, E_PACKAGE if it is no file */
export async function openPackageSource(path: string): Promise<PackageFileSource> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (cause) {
    throw new MillraceError('E_NOT_FOUND', `cannot open ${path}`, { cause });
  }
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new MillraceError('E_PACKAGE', `${path} is not a file`);
    return { ...readFrom(file, path, stats.size), close: () => file.close() };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function readFrom(file: FileHandle, path: string, size: number): PackageSource {
  return {
    size,
    read: async (offset, length) => {
      const bytes: Bytes = new Uint8Array(length);
      for (let done = 0; done < length; ) {
        const { bytesRead } = await file.read(bytes, done, length - done, offset + done).catch((cause: unknown) => {
          throw new MillraceError('E_STORE', `cannot read ${path}: is its disk still there?`, { cause });
        });
        if (bytesRead === 0) throw new MillraceError('E_PACKAGE', `${path} became shorter while it was read`);
        done += bytesRead;
      }
      return bytes;
    },
  };
}
