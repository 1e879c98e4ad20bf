import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeCbor, MillraceError, utf8 } from '@millrace/base';
import { openLmdb } from '@millrace/stores';
import { CellStore, openCellFile, openFileKeyWrapper, openSlots, Playbook } from '@millrace/vault';

/**
 * Takes the stopped vault to its next epoch, or to the end of a sweep that was under way and then to the next. A backup is
 * made of an epoch of its own, between two of these: the epoch key that it holds was never one of cells that a running
 * segments node held.
 * @param folders the nodes' folders
 */
export async function nextEpoch(folders: { keys: string; segments: string; control: string }): Promise<number> {
  const [keysData, segmentsData] = [join(folders.keys, 'data'), join(folders.segments, 'data')];
  const keysLmdb = openLmdb({ path: keysData });
  const segmentsLmdb = openLmdb({ path: segmentsData });
  const settings = JSON.parse(await readFile(join(folders.keys, 'node.json'), 'utf8')) as {
    maintenance?: { density?: number };
  };
  const epochSlots = await openSlots(join(keysData, 'epoch.keys'));
  const designSlots = await openSlots(join(keysData, 'design.keys'));
  const wrapper = await openFileKeyWrapper(join(folders.keys, 'kek.key'));
  const density = settings.maintenance?.density ?? 50;
  const file = await openCellFile({
    index: segmentsLmdb.store('cell-index'),
    path: join(segmentsData, 'cells.bin'),
  });
  const cells = new CellStore(file);
  const playbook = await Playbook.open({
    store: keysLmdb.store('playbook'),
    epochSlots,
    designSlots,
    wrapper,
    density,
  });
  try {
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
    await segmentsLmdb.store('records').put(utf8('seen-epoch/newest'), encodeCbor({ epoch }));
    return epoch;
  } finally {
    await playbook.close();
    await wrapper.close();
    await epochSlots.close();
    await designSlots.close();
    await file.close();
    await keysLmdb.close();
    await segmentsLmdb.close();
  }
}
