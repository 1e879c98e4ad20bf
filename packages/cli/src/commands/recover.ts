import { join } from 'node:path';
import { decodeCbor, MillraceError, toHex, utf8 } from '@millrace/base';
import { finishRestoring } from '../backup/swap.ts';
import { openInstallation } from '../installation/open.ts';
import { acquireLock } from '../supervisor/lock.ts';
import type { Context } from './context.ts';

const recoverable = ['control', 'segments', 'keys'] as const;
type Recoverable = (typeof recoverable)[number];

/**
 * An administrator accepts that a node is older than the others remember (docs/runbooks/recover.md): what the others
 * remember is taken away, offline, by whoever can write to their folders. What the older node has lost stays lost.
 */
export async function recover(context: Context, name: string, options: { acceptLoss?: boolean }): Promise<void> {
  const node = recoverable.find((role) => role === name);
  if (node === undefined) throw new MillraceError('E_INPUT', `expected one of ${recoverable.join(', ')}`);
  if (options.acceptLoss !== true) {
    throw new MillraceError('E_INPUT', 'read docs/runbooks/recover.md first; then say --accept-loss');
  }
  const { layout } = await openInstallation(context.home);
  const lock = await acquireLock(layout.run.lock); // refused while the installation runs
  try {
    await finishRestoring(layout);
    await forget(layout.node, node, toHex(context.random(16)));
  } finally {
    await lock.release();
  }
  context.terminal.result(
    { node, recovered: true },
    [
      `The ${node} node is taken as it is. Start with \`millrace up\`, then \`millrace vault check --deep\`:`,
      ...next[node],
    ].join('\n'),
  );
}

const next: Record<Recoverable, readonly string[]> = {
  control: [
    'what the ledger held beyond its present end is gone; witnesses and certificates tell of it.',
    'licences with objects left are suspended until their owners say what is left (`millrace licence resume`).',
  ],
  segments: ['owners repair what is missing from their offline copies (`millrace design repair`).'],
  keys: [
    'owners repair every design from its offline copy; designs that were added or deleted since are as they were.',
  ],
};

/** @param restore names this recovery to owners whose licences wait for their word */
async function forget(folderOf: (role: Recoverable) => string, node: Recoverable, restore: string): Promise<void> {
  const { openLmdb } = await import('@millrace/stores');
  const within = async (role: Recoverable, work: (store: ReturnType<typeof openLmdb>) => Promise<void>) => {
    const lmdb = openLmdb({ path: join(folderOf(role), 'data') });
    await work(lmdb).finally(() => lmdb.close());
  };
  if (node === 'control') {
    for (const role of ['segments', 'keys'] as const)
      await within(role, (lmdb) => lmdb.store('records').delete(utf8('ledger-head/newest')));
    // The proactive nodes have their own counts; control's are of the past.
    const { suspendLicences } = await import('@millrace/cloud');
    await within('control', async (lmdb) => void (await suspendLicences(lmdb.store('records'), restore)));
    return;
  }
  let newest = 0;
  await within('control', async (lmdb) => {
    for (const role of ['segments', 'keys'] as const) {
      const bytes = await lmdb.store('records').get(utf8(`head/${role}`));
      const epoch = bytes === undefined ? 0 : (decodeCbor(bytes, 'head') as { epoch: number }).epoch;
      newest = Math.max(newest, epoch);
      if (role === node) await lmdb.store('records').delete(utf8(`head/${role}`));
    }
    if (node === 'keys') await lmdb.store('records').delete(utf8('head/segments'));
  });
  await within('segments', (lmdb) => lmdb.store('records').delete(utf8('seen-epoch/newest')));
  if (node === 'keys') await resetKeysEpoch(folderOf('keys'), newest + 1);
}

/** The keys of today's epoch are lost: the playbook goes on in an epoch of its own, in which every cell is missing. */
async function resetKeysEpoch(folder: string, epoch: number): Promise<void> {
  const { openLmdb } = await import('@millrace/stores');
  const { openFileKeyWrapper, openSlots, resetEpoch } = await import('@millrace/vault');
  const data = join(folder, 'data');
  const lmdb = openLmdb({ path: data });
  const epochSlots = await openSlots(join(data, 'epoch.keys'));
  const wrapper = await openFileKeyWrapper(join(folder, 'kek.key'));
  try {
    await resetEpoch({ store: lmdb.store('playbook'), epochSlots, wrapper, epoch });
  } finally {
    await wrapper.close();
    await epochSlots.close();
    await lmdb.close();
  }
}
