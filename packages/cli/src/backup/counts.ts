import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { keepCounts, nodeFiles, suspendAtNode, suspendLicences } from '@millrace/cloud';
import { openLmdb, type Store } from '@millrace/stores';

const proactive = ['segments', 'keys'] as const;

/**
 * What segments and keys nodes of today have counted for themselves, into the staged state. A node whose folder is lost or
 * damaged is the reason for which backups are made: it has what the backup has.
 */
export async function keepNodesCounts(nodes: string, staged: string): Promise<void> {
  for (const role of proactive) {
    const today = join(nodes, role);
    if (!(await isThere(today))) continue;
    await inRecords(join(staged, role), async (restored) => {
      await inRecords(today, (records) => keepCounts(records, restored)).catch(() => undefined);
    });
  }
}

/**
 * Control comes from the backup: what was permitted since is not known, and every licence with objects left waits for its
 * owner's word, at control and at both proactive nodes.
 * @param restore 16 bytes in hexadecimal, of this restoring alone
 * @returns how many licences wait
 */
export async function suspendRestored(staged: string, restore: string): Promise<number> {
  const licences = await inRecords(join(staged, 'control'), (store) => suspendLicences(store, restore));
  for (const role of proactive) await inRecords(join(staged, role), (store) => suspendAtNode(store, restore, licences));
  return licences.length;
}

/** Opening a store makes one. */
function isThere(folder: string): Promise<boolean> {
  return access(join(folder, nodeFiles.data, 'data.mdb')).then(
    () => true,
    () => false,
  );
}

async function inRecords<T>(folder: string, work: (store: Store) => Promise<T>): Promise<T> {
  const lmdb = openLmdb({ path: join(folder, nodeFiles.data) });
  return work(lmdb.store('records')).finally(() => lmdb.close());
}
