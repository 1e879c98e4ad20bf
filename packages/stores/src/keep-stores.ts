import { link, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { eraseDurably, flush } from '@millrace/base';
import { openEnvironment } from './lmdb.ts';
import type { Write } from './port.ts';

const FILE = 'data.mdb';
const BATCH_BYTES = 4 << 20;

/**
 * Rewrites an LMDB environment with only these stores, and overwrites its former file, which also has earlier states of
 * its pages. Nobody else uses the environment. After an interruption, the same call completes it.
 * @param path folder of the environment; one that does not exist has no stores
 * @param names without any, no file stays
 */
export async function keepStores(path: string, names: readonly string[]): Promise<void> {
  const [file, former, next] = [join(path, FILE), join(path, 'former.mdb'), join(path, 'next')];
  const [now, left] = [await inodeOf(file), await inodeOf(former)];
  // Two names of one file: an earlier call ended before the replacement.
  if (left !== undefined && left === now) await rm(former);
  else if (left !== undefined) await eraseDurably(former);
  await rm(next, { recursive: true, force: true });
  if (now === undefined) return;
  if (names.length === 0) {
    await rename(file, former);
  } else {
    await copyStores(path, next, names);
    await link(file, former);
    await rename(join(next, FILE), file);
  }
  await flush(path);
  await eraseDurably(former);
  await rm(next, { recursive: true, force: true });
  await rm(join(path, 'lock.mdb'), { force: true });
}

async function copyStores(path: string, to: string, names: readonly string[]): Promise<void> {
  const [from, target] = [openEnvironment({ path }), openEnvironment({ path: to })];
  try {
    for (const name of names) {
      let batch: Write[] = [];
      let bytes = 0;
      for await (const { key, value } of from.store(name).range()) {
        batch.push({ put: key, value });
        bytes += key.length + value.length;
        if (bytes < BATCH_BYTES) continue;
        await target.store(name).batch(batch);
        [batch, bytes] = [[], 0];
      }
      await target.store(name).batch(batch);
    }
  } finally {
    await from.close();
    await target.close();
  }
}

function inodeOf(path: string): Promise<bigint | undefined> {
  return stat(path, { bigint: true }).then(
    ({ ino }) => ino,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    },
  );
}
