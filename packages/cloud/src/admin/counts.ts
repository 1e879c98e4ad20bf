import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeFiles } from '../config.ts';
import { revokeTokens, suspendLicences } from '../control/admin.ts';
import { keepCounts, suspendLicencesAtNode } from '../streaming/admin.ts';
import { withRecords } from './offline.ts';

const proactive = ['segments', 'keys'] as const;

/**
 * Copies the counts of the present segments and keys nodes into the staged state. A node whose folder is lost or
 * damaged keeps the counts of the backup.
 * @param nodes folder of the present nodes
 * @param staged folder of the nodes from the backup
 */
export async function keepNodesCounts(nodes: string, staged: string): Promise<void> {
  for (const role of proactive) {
    const present = join(nodes, role);
    if (!(await hasDatabase(present))) continue;
    await withRecords(join(staged, role), async (restored) => {
      await withRecords(present, (records) => keepCounts(records, restored)).catch(() => undefined);
    });
  }
}

/**
 * Suspends every licence with objects left, at control and at both proactive nodes, until its owner states how many are
 * left, and revokes every API token: a control node from a backup has no records of later permits and revocations.
 * @param restore 16 bytes in hexadecimal that identify this restore
 * @returns the number of suspended licences
 */
export async function suspendRestored(staged: string, restore: string, now: number): Promise<number> {
  const licences = await withRecords(join(staged, 'control'), async (records) => {
    await revokeTokens(records, restore, now);
    return suspendLicences(records, restore);
  });
  for (const role of proactive)
    await withRecords(join(staged, role), (records) => suspendLicencesAtNode(records, restore, licences));
  return licences.filter(({ most }) => most > 0).length;
}

/** Checks for the file first, because opening a database would create it. */
function hasDatabase(folder: string): Promise<boolean> {
  return access(join(folder, nodeFiles.data, 'data.mdb')).then(
    () => true,
    () => false,
  );
}
