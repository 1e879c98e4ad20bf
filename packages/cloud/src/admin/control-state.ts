import { cp, open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { parse } from '@millrace/base';
import { extendsLedger } from '@millrace/ledger';
import { nodeFiles } from '../config.ts';
import { acceptRestoredNodes } from '../control/admin.ts';
import { openControlStores } from '../control/stores.ts';
import { designsHeld, licencesHeld } from '../keys/admin.ts';
import { openKeysStores } from '../keys/stores.ts';
import { settingsSchema } from '../settings.ts';
import { using } from './offline.ts';

/**
 * Replaces the staged control node by the present one, if the present one exists and its ledger extends the backup's.
 * Permits and deletions since the backup then stay in force. Changes only the copy in the staged state.
 * @param nodes folder of the present nodes
 * @param staged folder of the nodes from the backup
 * @returns the numbers of designs and licences that control has and the backup does not; undefined when control cannot
 * be kept
 */
export async function keepControl(
  nodes: string,
  staged: string,
): Promise<{ designs: number; licences: number } | undefined> {
  const [present, older] = [join(nodes, 'control'), join(staged, 'control')];
  if (!(await isNewer(present, older))) return undefined;
  await rm(older, { recursive: true });
  await cp(present, older, { recursive: true });
  const held = await using(openKeysStores(join(staged, 'keys')), async (stores) => ({
    designs: await designsHeld(stores),
    licences: await licencesHeld(stores.records),
  }));
  const ids = { keys: await idOf(join(staged, 'keys')), segments: await idOf(join(staged, 'segments')) };
  const lost = await using(openControlStores(older), ({ records, queue }) =>
    acceptRestoredNodes({ store: records, mail: queue, nodes: ids }, held),
  );
  await syncFiles(older);
  return lost;
}

/** Id of the node in a folder, from its settings. */
async function idOf(folder: string): Promise<string> {
  const settings: unknown = JSON.parse(await readFile(join(folder, nodeFiles.settings), 'utf8'));
  return parse(settingsSchema, settings, nodeFiles.settings, 'E_CONFIG').id;
}

async function isNewer(present: string, older: string): Promise<boolean> {
  try {
    // Keys may have been rotated since the backup; the installation and its administrator cannot change.
    if (!isDeepStrictEqual(await anchorIn(present), await anchorIn(older))) return false;
    return await using(openControlStores(present), (newer) =>
      using(openControlStores(older), (before) => extendsLedger(before.ledger, newer.ledger)),
    );
  } catch {
    return false; // Missing or damaged: use the backup.
  }
}

async function anchorIn(folder: string): Promise<unknown> {
  const { installation, adminKey } = JSON.parse(await readFile(join(folder, nodeFiles.settings), 'utf8'));
  return { installation, adminKey };
}

async function syncFiles(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = await open(join(entry.parentPath, entry.name), 'r');
    await file.sync().finally(() => file.close());
  }
}
