import { cp, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { ledgerGoesOn, licencesHeld, nodeFiles, takeRestored } from '@millrace/cloud';
import { openLmdb } from '@millrace/stores';
import { filesBelow } from './archive.ts';
import { openPlaybook } from './epoch.ts';

/**
 * The control node of today instead of the one in the backup, when it is there and its ledger begins with all of the
 * backup's: what was permitted and what was deleted since stays so. Works on a copy in the staged state.
 * @param nodes folder of the nodes of today
 * @param staged folder of the nodes from the backup
 * @returns how many designs and licences control knows and the backup does not; undefined when control cannot be kept
 */
export async function keepControl(
  nodes: string,
  staged: string,
): Promise<{ designs: number; licences: number } | undefined> {
  const [present, older] = [join(nodes, 'control'), join(staged, 'control')];
  if (!(await isNewer(present, older))) return undefined;
  await rm(older, { recursive: true });
  await cp(present, older, { recursive: true });
  const designs = await designsIn(join(staged, 'keys'));
  const keys = openLmdb({ path: join(staged, 'keys', nodeFiles.data) });
  const licences = await licencesHeld(keys.store('records')).finally(() => keys.close());
  const control = openLmdb({ path: join(older, nodeFiles.data) });
  const mail = control.queue('mail');
  const lost = await takeRestored({ store: control.store('records'), mail }, { designs, licences }).finally(() =>
    control.close(),
  );
  for (const file of await filesBelow(staged, 'control')) {
    const handle = await open(join(staged, file), 'r');
    await handle.sync().finally(() => handle.close());
  }
  return lost;
}

async function isNewer(present: string, older: string): Promise<boolean> {
  try {
    // Keys may have been rotated since; the installation and its administrator are the same.
    if (!isDeepStrictEqual(await anchorIn(present), await anchorIn(older))) return false;
    const newer = openLmdb({ path: join(present, nodeFiles.data) });
    try {
      const before = openLmdb({ path: join(older, nodeFiles.data) });
      try {
        return await ledgerGoesOn(before.store('ledger'), newer.store('ledger'));
      } finally {
        await before.close();
      }
    } finally {
      await newer.close();
    }
  } catch {
    return false; // not there, or damaged: the reason for which backups are made
  }
}

async function designsIn(folder: string): Promise<Set<string>> {
  const { playbook, close } = await openPlaybook(folder);
  try {
    return new Set(playbook.designs().map(({ design }) => design));
  } finally {
    await close();
  }
}

async function anchorIn(folder: string): Promise<unknown> {
  const { installation, adminKey } = JSON.parse(await readFile(join(folder, nodeFiles.settings), 'utf8'));
  return { installation, adminKey };
}
