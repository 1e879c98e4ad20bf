import { join } from 'node:path';
import { type Closable, Closer } from '@millrace/base';
import { type Log, openLmdb, type Queue, type RecordStore } from '@millrace/stores';
import { openSlots, type Slots } from '@millrace/vault';
import { nodeFiles } from '../config.ts';

/** The stores of a control node. */
export interface ControlStores {
  readonly records: RecordStore;
  readonly ledger: Log;
  readonly boxes: { readonly mail: Slots };
}

/** @param folder folder of the node, which no running process uses */
export async function openControlStores(folder: string): Promise<ControlStores & { readonly queue: Queue } & Closable> {
  const closer = new Closer();
  const data = join(folder, nodeFiles.data);
  try {
    const environment = closer.add(openLmdb({ path: data }));
    return {
      records: environment.records('records'),
      ledger: environment.log('ledger'),
      queue: environment.queue('mail'),
      boxes: { mail: closer.add(await openSlots(join(data, nodeFiles.boxes.mail))) },
      close: () => closer.close(),
    };
  } catch (error) {
    await closer.close();
    throw error;
  }
}
