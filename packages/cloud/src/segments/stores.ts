import { join } from 'node:path';
import { type Closable, Closer } from '@millrace/base';
import { openLmdb, type RecordStore } from '@millrace/stores';
import { type CellEngine, openFileEngine, openSlots, type Slots } from '@millrace/vault';
import { nodeFiles } from '../config.ts';

/** The stores of a segments node. */
export interface SegmentsStores {
  readonly records: RecordStore;
  readonly cells: CellEngine;
  /** Cells that were lost when the stores were opened. */
  readonly lostCells: number;
  readonly boxes: { readonly mail: Slots };
}

/** @param folder folder of the node, which no running process uses */
export async function openSegmentsStores(folder: string): Promise<SegmentsStores & Closable> {
  const closer = new Closer();
  const data = join(folder, nodeFiles.data);
  try {
    const environment = closer.add(openLmdb({ path: data }));
    const path = join(data, nodeFiles.cells);
    const engine = closer.add(await openFileEngine({ lmdb: environment, index: 'cell-index', path }));
    return {
      records: environment.records('records'),
      cells: engine,
      lostCells: engine.cells.lost,
      boxes: { mail: closer.add(await openSlots(join(data, nodeFiles.boxes.mail))) },
      close: () => closer.close(),
    };
  } catch (error) {
    await closer.close();
    throw error;
  }
}
