import { forgetEpochs, newestEpoch, revokeTokens, suspendLicences } from '../control/admin.ts';
import { resetEpoch } from '../keys/admin.ts';
import { openKeysStores } from '../keys/stores.ts';
import { forgetLedger } from '../node/rollback-guard.ts';
import { forgetEpoch } from '../segments/admin.ts';
import { using, withRecords } from './offline.ts';

export const recoverableRoles = ['control', 'segments', 'keys'] as const;
export type RecoverableRole = (typeof recoverableRoles)[number];

/**
 * Resets the other nodes' records of the recovered node, so that they accept its older state. Data that the node has
 * lost stays lost. All nodes are stopped.
 * @param folderOf the nodes' folders
 * @param restore 16 bytes in hexadecimal; owners' statements about suspended licences must contain it
 */
export async function recoverNode(
  folderOf: (role: RecoverableRole) => string,
  role: RecoverableRole,
  restore: string,
  now: number,
): Promise<void> {
  if (role === 'control') {
    for (const other of ['segments', 'keys'] as const) await withRecords(folderOf(other), forgetLedger);
    // Control's counts are old; the proactive nodes have their own.
    await withRecords(folderOf('control'), async (records) => {
      await suspendLicences(records, restore);
      await revokeTokens(records, restore, now);
    });
    return;
  }
  const newest = await withRecords(folderOf('control'), async (records) => {
    const epoch = await newestEpoch({ records });
    await forgetEpochs({ records }, role === 'keys' ? ['keys', 'segments'] : ['segments']);
    return epoch;
  });
  await withRecords(folderOf('segments'), forgetEpoch);
  if (role === 'keys') await using(openKeysStores(folderOf('keys')), (stores) => resetEpoch(stores, newest + 1));
}
