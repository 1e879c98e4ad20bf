import { MillraceError, toHex } from '@millrace/base';
import type { RecoverableRole } from '@millrace/cloud/admin';
import { finishRestoring } from '../backup/swap.ts';
import { openInstallation } from '../installation/open.ts';
import { acquireLock } from '../supervisor/lock.ts';
import type { Context } from './context.ts';

/**
 * The administrator accepts that a node has an older state than the others remember (docs/runbooks/recover.md). The
 * installation must be stopped. The data that the older node has lost stays lost.
 */
export async function recover(context: Context, name: string, options: { acceptLoss?: boolean }): Promise<void> {
  const { recoverableRoles, recoverNode } = await import('@millrace/cloud/admin');
  const node = recoverableRoles.find((role) => role === name);
  if (node === undefined) throw new MillraceError('E_INPUT', `expected one of ${recoverableRoles.join(', ')}`);
  if (options.acceptLoss !== true) {
    throw new MillraceError('E_INPUT', 'read docs/runbooks/recover.md first, then use --accept-loss');
  }
  const { layout } = await openInstallation(context.home);
  const lock = await acquireLock(layout.run.lock); // refused while the installation runs
  try {
    await finishRestoring(layout);
    await recoverNode(layout.node, node, toHex(context.random(16)), context.clock.now());
  } finally {
    await lock.release();
  }
  context.terminal.result(
    { node, recovered: true },
    [
      `The current state of the ${node} node is accepted. Run \`millrace up\`, then \`millrace vault check --deep\`:`,
      ...next[node],
    ].join('\n'),
  );
}

const next: Record<RecoverableRole, readonly string[]> = {
  control: [
    'ledger entries after the current end are lost; witnesses and certificates can show that they existed.',
    'licences with objects left are suspended until their owners sign how many are left (`millrace licence resume`).',
    'every API token is revoked; people make new ones (`millrace token create`).',
  ],
  segments: ['owners repair missing segments from their offline copies (`millrace design repair`).'],
  keys: [
    'owners repair every design from its offline copy; designs added or deleted since then are as they were before.',
  ],
};
