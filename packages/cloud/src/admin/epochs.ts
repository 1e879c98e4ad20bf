import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Closer, MillraceError, parse } from '@millrace/base';
import { type Playbook, PointsPool } from '@millrace/vault';
import { nodeFiles, readSettings } from '../config.ts';
import { leadOffline } from '../keys/replicas/offline.ts';
import { openKeysStores, openPlaybook } from '../keys/stores.ts';
import { noteEpoch, openCells } from '../segments/admin.ts';
import { openSegmentsStores } from '../segments/stores.ts';
import { DEFAULT_MAINTENANCE, settingsSchema } from '../settings.ts';

/** Opens the playbook of a stopped keys node. @param folder folder of the node */
export async function openPlaybookIn(folder: string): Promise<{ playbook: Playbook; close: () => Promise<void> }> {
  const closer = new Closer();
  try {
    const settings: unknown = JSON.parse(await readFile(join(folder, nodeFiles.settings), 'utf8'));
    const { cluster, maintenance = DEFAULT_MAINTENANCE } = parse(
      settingsSchema,
      settings,
      nodeFiles.settings,
      'E_CONFIG',
    );
    if (cluster !== undefined) closer.add(await leadOffline(folder));
    const stores = closer.add(await openKeysStores(folder, cluster));
    const playbook = closer.add(await openPlaybook(stores, maintenance.density));
    return { playbook, close: () => closer.close() };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/**
 * Moves the stopped vault to its next epoch. A sweep that was interrupted is completed first. A backup is made between
 * two of these calls. Its epoch key is then one under which no running segments node ever held a cell.
 * @param folders the nodes' folders
 */
export async function nextEpoch(folders: { keys: string; segments: string }): Promise<number> {
  const closer = new Closer();
  try {
    const { cluster } = await readSettings(folders.segments);
    const stores = closer.add(await openSegmentsStores(folders.segments, cluster));
    const cells = openCells(stores, closer.add(new PointsPool()));
    const { playbook, close } = await openPlaybookIn(folders.keys);
    closer.add({ close });
    const before = playbook.status();
    const target = (before.sweep?.to ?? before.epoch) + 1;
    while (playbook.status().epoch < target) {
      await playbook.beginSweep();
      for (
        let message = await playbook.nextMaintenance();
        message !== undefined;
        message = await playbook.nextMaintenance()
      )
        if ((await playbook.maintained(await cells.maintain(message))) === undefined)
          throw new MillraceError('E_INTERNAL', 'the vault refused a step of its own sweep');
    }
    const { epoch } = playbook.status();
    await noteEpoch(stores, epoch);
    return epoch;
  } finally {
    await closer.close();
  }
}
