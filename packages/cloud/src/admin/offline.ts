import { join } from 'node:path';
import type { Closable } from '@millrace/base';
import { openLmdb, type RecordStore } from '@millrace/stores';
import { nodeFiles } from '../config.ts';
import { requireFiles } from '../node/cluster.ts';

/** Runs `work` on the records of a stopped node. @param folder folder of the node */
export function withRecords<T>(folder: string, work: (records: RecordStore) => Promise<T>): Promise<T> {
  return using(openRecordsOf(folder), ({ records }) => work(records));
}

/** Runs `work` on an opened store, then closes the store. */
export async function using<O extends Closable, T>(
  opened: O | Promise<O>,
  work: (opened: O) => Promise<T>,
): Promise<T> {
  const stores = await opened;
  try {
    return await work(stores);
  } finally {
    await stores.close();
  }
}

async function openRecordsOf(folder: string): Promise<{ readonly records: RecordStore } & Closable> {
  await requireFiles(folder);
  const environment = openLmdb({ path: join(folder, nodeFiles.data) });
  return { records: environment.records('records'), close: () => environment.close() };
}
