import { join } from 'node:path';
import { type Closable, Closer } from '@millrace/base';
import { type Log, openLmdb, type RecordStore } from '@millrace/stores';
import { type KeyWrapper, openFileKeyWrapper, openSlots, Playbook, type Slots } from '@millrace/vault';
import { nodeFiles } from '../config.ts';

/** The stores of a keys node. */
export interface KeysStores {
  readonly records: RecordStore;
  readonly playbook: Log;
  readonly epochSlots: Slots;
  readonly designSlots: Slots;
  readonly wrapper: KeyWrapper;
  readonly boxes: { readonly mail: Slots; readonly attachments: Slots };
}

/** @param folder folder of the node, which no running process uses */
export async function openKeysStores(folder: string): Promise<KeysStores & Closable> {
  const closer = new Closer();
  const data = join(folder, nodeFiles.data);
  const slots = async (file: string) => closer.add(await openSlots(join(data, file)));
  try {
    const environment = closer.add(openLmdb({ path: data }));
    return {
      records: environment.records('records'),
      playbook: environment.log('playbook'),
      wrapper: closer.add(await openFileKeyWrapper(join(folder, nodeFiles.kek))),
      epochSlots: await slots('epoch.keys'),
      designSlots: await slots('design.keys'),
      boxes: { mail: await slots(nodeFiles.boxes.mail), attachments: await slots(nodeFiles.boxes.attachments) },
      close: () => closer.close(),
    };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/** @param density the share of cells that are real, in percent */
export function openPlaybook(
  { playbook, epochSlots, designSlots, wrapper }: KeysStores,
  density: number,
): Promise<Playbook> {
  return Playbook.open({ log: playbook, epochSlots, designSlots, wrapper, density });
}
