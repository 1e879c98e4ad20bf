import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Closer, encodeCbor, MillraceError, utf8 } from '@millrace/base';
import { nodeFiles } from '@millrace/cloud';
import { openLmdb } from '@millrace/stores';
import { CellStore, openCellFile, openFileKeyWrapper, openSlots, Playbook, PointsPool } from '@millrace/vault';

/** The playbook of a keys node that does not run. @param folder the node's */
export async function openPlaybook(folder: string): Promise<{ playbook: Playbook; close: () => Promise<void> }> {
  const closer = new Closer();
  const data = join(folder, nodeFiles.data);
  try {
    const settings = JSON.parse(await readFile(join(folder, nodeFiles.settings), 'utf8')) as {
      maintenance?: { density?: number };
    };
    const playbook = await Playbook.open({
      store: closer.add(openLmdb({ path: data })).store('playbook'),
      epochSlots: closer.add(await openSlots(join(data, 'epoch.keys'))),
      designSlots: closer.add(await openSlots(join(data, 'design.keys'))),
      wrapper: closer.add(await openFileKeyWrapper(join(folder, nodeFiles.kek))),
      density: settings.maintenance?.density ?? 50,
    });
    closer.add(playbook);
    return { playbook, close: () => closer.close() };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/**
 * Takes the stopped vault to its next epoch, or to the end of a sweep that was under way and then to the next. A backup is
 * made of an epoch of its own, between two of these: the epoch key that it holds was never one of cells that a running
 * segments node held.
 * @param folders the nodes' folders
 */
export async function nextEpoch(folders: { keys: string; segments: string }): Promise<number> {
  const closer = new Closer();
  try {
    const data = join(folders.segments, nodeFiles.data);
    const lmdb = closer.add(openLmdb({ path: data }));
    const index = lmdb.store('cell-index');
    const file = closer.add(await openCellFile({ index, path: join(data, nodeFiles.cells) }));
    const cells = new CellStore(file, closer.add(new PointsPool()));
    const { playbook, close } = await openPlaybook(folders.keys);
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
          throw new MillraceError('E_INTERNAL', 'the vault did not take a step of its own');
    }
    const { epoch } = playbook.status();
    await lmdb.store('records').put(utf8('seen-epoch/newest'), encodeCbor({ epoch }));
    return epoch;
  } finally {
    await closer.close();
  }
}
