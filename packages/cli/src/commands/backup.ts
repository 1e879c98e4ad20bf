import { rename, rm } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { MillraceError, toHex } from '@millrace/base';
import { makeFolder } from '@millrace/client/node';
import { nodeRoles } from '@millrace/protocol';
import { filesBelow, readArchive, type Source, writeArchive } from '../backup/archive.ts';
import { type BackupKeys, newBackupKey, openBackupKeys } from '../backup/key-file.ts';
import { commitStaged, finishRestoring, stagingOf } from '../backup/swap.ts';
import { type Layout, nodeFiles } from '../installation/layout.ts';
import { openInstallation } from '../installation/open.ts';
import { acquireLock } from '../supervisor/lock.ts';
import type { Context } from './context.ts';

export interface BackupOptions {
  /** File with the keys of backups. */
  readonly key?: string;
  readonly keepOlder?: boolean;
}

/**
 * Runs `work` while the installation is stopped, and keeps it stopped.
 * @throws {MillraceError} E_CONFLICT if it runs
 */
async function whileStopped<T>(
  context: Context,
  options: BackupOptions,
  work: (layout: Layout, keys: BackupKeys) => Promise<T>,
): Promise<T> {
  const { layout } = await openInstallation(context.home);
  const lock = await acquireLock(layout.run.lock);
  try {
    await finishRestoring(layout);
    await removeExports(layout);
    const path = options.key === undefined ? join(layout.user('admin'), 'backup.keys') : context.path(options.key);
    const keys = await openBackupKeys(path);
    try {
      return await work(layout, keys);
    } finally {
      await keys.close();
    }
  } finally {
    await lock.release();
  }
}

const exportsOf = ({ home }: Layout): string => join(home, '.exported');

/** Left by a process that was killed, or no longer needed. */
async function removeExports(layout: Layout): Promise<void> {
  const { eraseExport, movableRoles } = await import('@millrace/cloud/admin');
  for (const role of movableRoles) await eraseExport(join(exportsOf(layout), 'nodes', role));
  await rm(exportsOf(layout), { recursive: true, force: true });
}

/** Files of the nodes. The state of a node in a cluster is first written to files of the same form. */
async function sourcesOf(layout: Layout, context: Context): Promise<Source[]> {
  const { exportNode, needsExport, movableRoles } = await import('@millrace/cloud/admin');
  const exported: string[] = [];
  const inCluster: (typeof movableRoles)[number][] = [];
  for (const role of movableRoles) if (await needsExport(layout.node(role))) inCluster.push(role);
  for (const role of inCluster) {
    await exportNode(layout.node(role), role, join(exportsOf(layout), 'nodes', role), context.clock);
    exported.push(join('nodes', role, sep));
  }
  const inFolder = (await filesBelow(layout.home, 'nodes')).filter(
    (file) => !exported.some((own) => file.startsWith(own)),
  );
  const here = { root: layout.home, files: inFolder };
  if (exported.length === 0) return [here];
  return [here, { root: exportsOf(layout), files: await filesBelow(exportsOf(layout), 'nodes') }];
}

/** Encrypts the state of all nodes to a new key for this backup. Keys of older backups are destroyed. */
export async function create(context: Context, file: string, options: BackupOptions): Promise<void> {
  const path = context.path(file);
  const result = await whileStopped(context, options, async (layout, keys) => {
    const { nextEpoch } = await import('@millrace/cloud/admin');
    const folders = { keys: layout.node('keys'), segments: layout.node('segments') };
    const epoch = await nextEpoch(folders);
    // A restored node creates new box keys. The backup includes those of control: mail to control contains nothing
    // beyond control's records in the backup.
    const boxes = (node: string) => Object.values(nodeFiles.boxes).map((file) => join(node, nodeFiles.data, file));
    const erasable = new Set(
      Object.values(folders)
        .flatMap(boxes)
        .map((path) => relative(layout.home, path)),
    );
    const key = await newBackupKey(context.random);
    const partial = `${path}.part`;
    try {
      await rm(partial, { force: true }); // left by a process that was killed
      const sources = (await sourcesOf(layout, context)).map(({ root, files }) => ({
        root,
        files: files.filter((file) => !erasable.has(file)),
      }));
      await writeArchive(partial, { recipient: key.recipient, sources });
      await nextEpoch(folders); // from now on the backup's epoch key is only in the backup
      // The archive can be opened only once this key is stored. A crash before this leaves no backup; a crash after it
      // leaves a complete one.
      await keys.add(key);
      await rename(partial, path);
      const destroyed = options.keepOlder === true ? 0 : await keys.destroy(key);
      return { backup: key.id, file: path, epoch, files: sources.flatMap(({ files }) => files).length, destroyed };
    } finally {
      await removeExports(layout);
      await rm(partial, { force: true });
    }
  });
  context.terminal.result(
    result,
    [
      `Backup ${result.backup} of epoch ${result.epoch} is in ${path}; ${result.destroyed} older backup(s) can no longer be opened.`,
      'Its key is in the key file. Keep that file on another medium than the backup. Both together open the backup,',
      'including designs that are deleted later, until the key is destroyed (`millrace backup destroy`, or the next backup).',
    ].join('\n'),
  );
}

export interface RestoreOptions extends BackupOptions {
  /** Control, too, may be reset to the backup's state. */
  readonly acceptLoss?: boolean;
}

/**
 * Replaces the state of the nodes by that of the backup. Control is kept if possible: what was permitted or deleted
 * since the backup remains so.
 */
export async function restore(context: Context, file: string, options: RestoreOptions): Promise<void> {
  const path = context.path(file);
  const result = await whileStopped(context, options, async (layout, keys) => {
    await requireInFiles(layout);
    const { keepControl, keepKeys, keepNodesCounts, suspendRestored } = await import('@millrace/cloud/admin');
    const stored = await keys.list();
    const staging = await makeFolder(stagingOf(layout));
    try {
      const identities = stored.map(({ identity }) => identity);
      const { files, identity } = await readArchive(path, identities, staging);
      if (files === 0) throw new MillraceError('E_BACKUP', 'the backup is empty');
      const [nodes, staged] = [join(layout.home, 'nodes'), join(staging, 'nodes')];
      const lost = await keepControl(nodes, staged);
      const olderKeys = await keepKeys(nodes, staged);
      if (lost === undefined && options.acceptLoss !== true) {
        const why = 'the current control node is missing, damaged, or not a later state of the one in the backup';
        throw new MillraceError('E_BACKUP', `${why}; read docs/runbooks/recover.md, then use --accept-loss`);
      }
      await keepNodesCounts(nodes, staged);
      const suspended =
        lost === undefined ? await suspendRestored(staged, toHex(context.random(16)), context.clock.now()) : 0;
      await commitStaged(layout);
      const control = lost === undefined ? 'restored' : 'kept';
      const backup = stored.find((key) => key.identity === identity)?.id;
      return { backup, files, control, lost: lost ?? null, suspended, olderKeys };
    } finally {
      await finishRestoring(layout); // completes a committed restore; removes a partial one
    }
  });
  const { lost, suspended } = result;
  context.terminal.result(
    result,
    [
      `Backup ${result.backup} is restored. Start with \`millrace up\`.`,
      lost === null
        ? `Control was restored as well: designs deleted since the backup are back, and ${suspended} licence(s) are suspended until their owners sign how many objects are left (\`millrace licence resume\`).`
        : `Control was not changed. ${lost.designs} design(s) and ${lost.licences} licence(s) newer than the backup are lost.`,
      ...(result.olderKeys.length === 0
        ? []
        : [
            `Restored with older keys: ${result.olderKeys.join(', ')}. If they were rotated after the backup, rotate them again before you start.`,
          ]),
    ].join('\n'),
  );
}

/** A restore replaces files and compares the present control with the backup. */
async function requireInFiles(layout: Layout): Promise<void> {
  const { requireFiles } = await import('@millrace/cloud/admin');
  for (const role of nodeRoles)
    await requireFiles(layout.node(role)).catch((error: unknown) => {
      if (!(error instanceof MillraceError)) throw error;
      const why = `${error.message}; before a restore, run \`millrace migrate ${role} --to files\``;
      throw new MillraceError(error.code, why, { cause: error });
    });
}

/** Destroys the keys of all backups. */
export async function destroy(context: Context, options: BackupOptions): Promise<void> {
  const destroyed = await whileStopped(context, options, (_layout, keys) => keys.destroy());
  context.terminal.result(
    { destroyed },
    `The keys of ${destroyed} backup(s) are destroyed. The backups can no longer be opened.`,
  );
}
