import { join } from 'node:path';
import { MillraceError, readJsonFile, removeDurably, writeDurably } from '@millrace/base';
import { z } from 'zod';
import { nodeFiles } from '../config.ts';
import { clusterSchema } from '../settings.ts';

const migrationSchema = z.strictObject({
  to: z.enum(['cluster', 'files']),
  /** The cluster that the state is moved to or from. */
  cluster: clusterSchema,
});

/**
 * A move of a node's state that has not completed. The file `keyspace` still says where the valid state is; this file
 * says that there may be a second copy, which has to be completed or erased.
 */
export type Migration = z.output<typeof migrationSchema>;

/** Undefined if there is none. @throws {MillraceError} E_CONFIG */
export function readMigration(folder: string): Promise<Migration | undefined> {
  return readJsonFile(join(folder, nodeFiles.migration), migrationSchema);
}

export function writeMigration(folder: string, migration: Migration): Promise<void> {
  return writeDurably(join(folder, nodeFiles.migration), `${JSON.stringify(migration, null, 2)}\n`);
}

export function removeMigration(folder: string): Promise<void> {
  return removeDurably(join(folder, nodeFiles.migration));
}

/** @throws {MillraceError} E_STATE while the node's state is being moved */
export async function requireNoMigration(folder: string): Promise<void> {
  const migration = await readMigration(folder);
  if (migration === undefined) return;
  throw new MillraceError(
    'E_STATE',
    `the state of ${folder} is being moved to ${migration.to === 'files' ? 'files' : 'a cluster'}: ` +
      'run `millrace migrate` again to complete it, or with --cancel to undo it',
  );
}
