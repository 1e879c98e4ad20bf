import { join } from 'node:path';
import { fileExists, MillraceError } from '@millrace/base';
import { readJson } from '@millrace/client/node';
import type { Migrated, MovableRole } from '@millrace/cloud/admin';
import { finishRestoring } from '../backup/swap.ts';
import { nodeFiles } from '../installation/layout.ts';
import { openInstallation } from '../installation/open.ts';
import { acquireLock } from '../supervisor/lock.ts';
import { type Context, oneOf } from './context.ts';

export interface MigrateCommandOptions {
  readonly to?: string;
  readonly cluster?: string;
  readonly cancel?: boolean;
}

/**
 * Moves the state of a stopped node from its folder to a cluster, or back. `--home` is the installation, or the folder
 * of a node on a host of its own.
 */
export async function migrate(context: Context, name: string, options: MigrateCommandOptions): Promise<void> {
  const { cancelMigration, migrateNode, movableRoles, parseClusterSettings } = await import('@millrace/cloud/admin');
  const { clock, terminal } = context;
  const role = oneOf('the node', name, movableRoles);
  if ((options.to === undefined) === (options.cancel !== true))
    throw new MillraceError('E_INPUT', 'either --to cluster, --to files or --cancel');
  if (options.cluster !== undefined && options.to !== 'cluster')
    throw new MillraceError('E_INPUT', '--cluster belongs to --to cluster');
  await whileStopped(context, role, async (folder) => {
    if (options.to === undefined) {
      await cancelMigration({ folder, role, clock });
      terminal.result({ node: role, cancelled: true }, `The state of ${role} stays where it was; the copy is erased.`);
      return;
    }
    const to = oneOf('--to', options.to, ['cluster', 'files']);
    const cluster =
      options.cluster === undefined
        ? undefined
        : parseClusterSettings(await readJson(context.path(options.cluster)), role);
    const { moved } = await migrateNode({ folder, role, to, cluster, clock });
    terminal.result({ node: role, to, moved: moved ?? null }, text(role, to, moved));
  });
}

function text(role: MovableRole, to: Migrated['to'], moved: Migrated['moved']): string {
  const where = to === 'files' ? 'its folder' : 'the cluster';
  if (moved === undefined) return `The state of ${role} was already in ${where}; the former one is erased now.`;
  const items = Object.entries(moved).map(([store, { count, sha256 }]) => `  ${store}  ${count}, SHA-256 ${sha256}`);
  return [`The state of ${role} is in ${where}, compared item by item; the former one is erased.`, ...items].join('\n');
}

async function whileStopped(context: Context, role: MovableRole, work: (folder: string) => Promise<void>) {
  const { home } = context;
  if (await fileExists(join(home, nodeFiles.settings))) return work(home);
  const { layout } = await openInstallation(home);
  const folder = layout.node(role);
  if (!(await fileExists(join(folder, nodeFiles.settings))))
    throw new MillraceError('E_STATE', `${folder} has no node: run the command on the node’s host, with its --home`);
  const lock = await acquireLock(layout.run.lock); // refused while the installation runs
  try {
    await finishRestoring(layout);
    await work(folder);
  } finally {
    await lock.release();
  }
}
