import { join } from 'node:path';
import { type Closable, Closer } from '@millrace/base';
import { openLmdb, type RecordStore } from '@millrace/stores';
import { type CellFile, openCellFile, openSlots, type Slots } from '@millrace/vault';
import { nodeFiles } from '../config.ts';

/** The stores of a segments node. */
export interface SegmentsStores {
  readonly records: RecordStore;
  readonly cells: CellFile;
  readonly boxes: { readonly mail: Slots };
}

/** @param folder folder of the node, which no running process uses */
export async function openSegmentsStores(folder: string): Promise<SegmentsStores & Closable> {
  const closer = new Closer();
  const data = join(folder, nodeFiles.data);
  try {
    const environment = closer.add(openLmdb({ path: data }));
    const index = environment.store('cell-index');
    return {
      records: environment.records('records'),
      cells: closer.add(await openCellFile({ index, path: join(data, nodeFiles.cells) })),
      boxes: { mail: closer.add(await openSlots(join(data, nodeFiles.boxes.mail))) },
      close: () => closer.close(),
    };
  } catch (error) {
    await closer.close();
    throw error;
  }
}
