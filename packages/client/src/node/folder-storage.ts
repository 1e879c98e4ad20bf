import { dirname, join } from 'node:path';
import { writeDurably } from '@millrace/base';
import type { ClientStorage } from '../storage.ts';
import { processIsAlive } from './alive.ts';
import { makeFolder, readBytesIfThere } from './files.ts';
import { findPrepared, sweepPreparations, writePrepared } from './prepared.ts';

/** A user's storage in a folder. Prepared designs are in its folder `uploads`. */
export function createFolderStorage(folder: string): ClientStorage {
  const uploads = join(folder, 'uploads');
  return {
    read: (path) => readBytesIfThere(join(folder, path)),
    replace: async (path, bytes) => {
      const file = join(folder, path);
      await makeFolder(dirname(file));
      await writeDurably(file, bytes);
    },
    prepared: {
      find: async (source) => {
        await sweepPreparations(uploads, processIsAlive);
        return findPrepared(uploads, source);
      },
      begin: (random) => writePrepared(uploads, random),
    },
  };
}
