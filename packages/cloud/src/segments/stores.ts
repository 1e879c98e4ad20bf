import { join } from 'node:path';
import { type Closable, Closer, systemClock } from '@millrace/base';
import { openLmdb, type RecordStore } from '@millrace/stores';
import { type CellEngine, InProcessEngine, openFileEngine, openSlots, type Slots } from '@millrace/vault';
import { nodeFiles } from '../config.ts';
import { openNodeCluster, requireFiles } from '../node/cluster.ts';
import type { ProcessModules } from '../node/modules.ts';
import type { ClusterSettings } from '../settings.ts';

/** The stores of a segments node. */
export interface SegmentsStores {
  readonly records: RecordStore;
  readonly cells: CellEngine;
  /** Cells that were lost when the stores were opened. */
  readonly lostCells: number;
  readonly boxes: { readonly mail: Slots };
}

/**
 * @param folder folder of the node, which no running process uses
 * @param cluster where records and cells are, if not in the folder
 */
export async function openSegmentsStores(
  folder: string,
  cluster?: ClusterSettings,
  modules: Partial<Pick<ProcessModules, 'clock' | 'metrics' | 'logger'>> = {},
): Promise<SegmentsStores & Closable> {
  const closer = new Closer();
  const data = join(folder, nodeFiles.data);
  try {
    const boxes = async () => ({ mail: closer.add(await openSlots(join(data, nodeFiles.boxes.mail))) });
    if (cluster !== undefined) {
      const engine = closer.add(await openNodeCluster(folder, cluster, { clock: systemClock, ...modules }));
      return {
        records: engine.records('records'),
        cells: new InProcessEngine(engine.cells('cells')),
        lostCells: 0,
        boxes: await boxes(),
        close: () => closer.close(),
      };
    }
    await requireFiles(folder);
    const environment = closer.add(openLmdb({ path: data }));
    const path = join(data, nodeFiles.cells);
    const engine = closer.add(await openFileEngine({ lmdb: environment, index: 'cell-index', path }));
    return {
      records: environment.records('records'),
      cells: engine,
      lostCells: engine.cells.lost,
      boxes: await boxes(),
      close: () => closer.close(),
    };
  } catch (error) {
    await closer.close();
    throw error;
  }
}
