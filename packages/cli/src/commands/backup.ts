import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError, toHex, wipe } from '@millrace/base';
import { backupId, filesBelow, ID_BYTES, readArchive, writeArchive } from '../backup/archive.ts';
import { type BackupKeys, openBackupKeys } from '../backup/key-file.ts';
import { makeFolder } from '../installation/files.ts';
import type { Layout } from '../installation/layout.ts';
import { openInstallation } from '../installation/open.ts';
import { acquireLock } from '../supervisor/lock.ts';
import type { Context } from './context.ts';

export interface BackupOptions {
  /** File of the backups' keys. */
  readonly key?: string;
  readonly keepOlder?: boolean;
}

/** Runs `work` while the installation is stopped, and stays so. @throws {MillraceError} E_CONFLICT while it runs */
async function whileStopped<T>(
  context: Context,
  options: BackupOptions,
  work: (layout: Layout, keys: BackupKeys) => Promise<T>,
): Promise<T> {
  const { layout } = await openInstallation(context.home);
  const lock = await acquireLock(layout.run.lock);
  try {
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

/** Encrypts everything that the nodes hold to a key of this backup alone; older backups' keys are destroyed. */
export async function create(context: Context, file: string, options: BackupOptions): Promise<void> {
  const path = context.path(file);
  const result = await whileStopped(context, options, async (layout, keys) => {
    const { nextEpoch } = await import('../backup/epoch.ts');
    const folders = { keys: layout.node('keys'), segments: layout.node('segments'), control: layout.node('control') };
    const epoch = await nextEpoch(folders);
    const [id, secret] = [context.random(ID_BYTES), context.random(32)];
    const partial = `${path}.part`;
    try {
      const files = await filesBelow(layout.home, 'nodes');
      await writeArchive(partial, { id, secret, root: layout.home, files });
      await keys.add(id, secret);
      await rename(partial, path);
      await nextEpoch(folders); // from here on the backup's epoch key is nowhere else
      const destroyed = options.keepOlder === true ? 0 : await keys.destroy(id);
      return { backup: toHex(id), file: path, epoch, files: files.length, destroyed };
    } finally {
      wipe(secret);
      await rm(partial, { force: true });
    }
  });
  context.terminal.result(
    result,
    [
      `Backup ${result.backup} of epoch ${result.epoch} is in ${path}; ${result.destroyed} older one(s) open no more.`,
      'Its key is in the key file: keep that on another medium than the backup. Whoever has both has what the nodes hold,',
      'designs that are deleted later included, until the key is destroyed (`millrace backup destroy`, or the next backup).',
    ].join('\n'),
  );
}

/** Replaces what all four nodes hold by what they held then. */
export async function restore(context: Context, file: string, options: BackupOptions): Promise<void> {
  const path = context.path(file);
  const result = await whileStopped(context, options, async (layout, keys) => {
    const id = await backupId(path);
    const secret = await keys.secretOf(id);
    const staged = await makeFolder(join(layout.home, `.restore-${toHex(context.random(4))}`));
    try {
      const files = await readArchive(path, secret, staged);
      if (files === 0) throw new MillraceError('E_BACKUP', 'the backup is empty');
      const nodes = join(layout.home, 'nodes');
      await rename(nodes, join(staged, 'before'));
      await rename(join(staged, 'nodes'), nodes);
      return { backup: toHex(id), files };
    } finally {
      wipe(secret);
      await rm(staged, { recursive: true, force: true });
    }
  });
  context.terminal.result(result, `Backup ${result.backup} is restored. Start with \`millrace up\`.`);
}

/** Destroys the keys of all backups. */
export async function destroy(context: Context, options: BackupOptions): Promise<void> {
  const destroyed = await whileStopped(context, options, (_layout, keys) => keys.destroy());
  context.terminal.result({ destroyed }, `The keys of ${destroyed} backup(s) are destroyed: they open no more.`);
}
