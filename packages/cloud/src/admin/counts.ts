import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { nodeFiles } from '../config.ts';
import { suspendLicences } from '../control/admin.ts';
import { keepCounts, suspendLicencesAtNode } from '../streaming/admin.ts';
import { withRecords } from './offline.ts';

const proactive = ['segments', 'keys'] as const;

/**
 * Copies what the present segments and keys nodes have counted into the staged state. A node whose folder is lost or damaged
 * keeps the counts of the backup: backups are made for that case.
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
 * Control comes from the backup and does not know what was permitted since. Every licence with objects left is suspended
 * until its owner states what is left, at control and at both proactive nodes.
 * @param restore 16 bytes in hexadecimal that identify this restore
 * @returns how many licences are suspended
 */
export async function suspendRestored(staged: string, restore: string): Promise<number> {
  const licences = await withRecords(join(staged, 'control'), (records) => suspendLicences(records, restore));
  for (const role of proactive)
    await withRecords(join(staged, role), (records) => suspendLicencesAtNode(records, restore, licences));
  return licences.length;
}

/** Opening a database would create it. */
function hasDatabase(folder: string): Promise<boolean> {
  return access(join(folder, nodeFiles.data, 'data.mdb')).then(
    () => true,
    () => false,
  );
}
