import { cp } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Clock, Closer, eraseDurably, MillraceError } from '@millrace/base';
import { nodeFiles, readSettings } from '../config.ts';
import { requireInSync } from '../keys/replicas/offline.ts';
import { requireNoMigration } from '../node/migration.ts';
import { copyCompared, type MovableRole, openCluster, openFiles, writeClusterSetting } from './migrate-node.ts';

/** Whether the state of a node is in a cluster, and has to be exported for a backup. */
export async function needsExport(folder: string): Promise<boolean> {
  return (await readSettings(folder)).cluster !== undefined;
}

/**
 * Writes the folder that a stopped node in a cluster would have if its state were in files. Leaves the node unchanged.
 * @param target does not exist yet. The caller erases it (`eraseExport`).
 * @throws {MillraceError} as `migrateNode`
 */
export async function exportNode(folder: string, role: MovableRole, target: string, clock: Clock): Promise<void> {
  await requireNoMigration(folder);
  const { cluster } = await readSettings(folder);
  if (cluster === undefined) throw new MillraceError('E_STATE', `the state of ${folder} is in files`);
  if (role === 'keys') await requireInSync(folder);
  const left: readonly string[] = [nodeFiles.keyspace, nodeFiles.replicas, 'data.mdb', 'lock.mdb'];
  await cp(folder, target, { recursive: true, filter: (path) => !left.includes(basename(path)) });
  await writeClusterSetting(target, undefined);
  const closer = new Closer();
  try {
    const files = closer.add(await openFiles({ folder: target, role, clock }, cluster));
    const remote = closer.add(await openCluster({ folder, role, clock }, cluster));
    await copyCompared(role, remote, files);
  } finally {
    await closer.close();
  }
}

/** Overwrites what an export contains of a node's state. @param folder of an exported node; may be incomplete */
export async function eraseExport(folder: string): Promise<void> {
  for (const file of ['data.mdb', nodeFiles.cells]) await eraseDurably(join(folder, nodeFiles.data, file));
}
