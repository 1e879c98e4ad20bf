import { join } from 'node:path';
import { type Clock, type Closable, Closer, systemClock } from '@millrace/base';
import { type Log, openLmdb, type Queue, type RecordStore } from '@millrace/stores';
import { openSlots, type Slots } from '@millrace/vault';
import { nodeFiles } from '../config.ts';
import { openNodeCluster, requireFiles } from '../node/cluster.ts';
import type { ClusterSettings } from '../settings.ts';

/** The stores of a control node. */
export interface ControlStores {
  readonly records: RecordStore;
  readonly ledger: Log;
  readonly boxes: { readonly mail: Slots };
}

/**
 * @param folder folder of the node, which no running process uses
 * @param cluster where records and ledger are, if not in the folder; the mail of the nodes stays there
 */
export async function openControlStores(
  folder: string,
  cluster?: ClusterSettings,
  clock: Clock = systemClock,
): Promise<ControlStores & { readonly queue: Queue } & Closable> {
  const closer = new Closer();
  const data = join(folder, nodeFiles.data);
  try {
    if (cluster === undefined) await requireFiles(folder);
    const cassandra = cluster && closer.add(await openNodeCluster(folder, cluster, clock));
    const environment = closer.add(openLmdb({ path: data }));
    const engine = cassandra ?? environment;
    return {
      records: engine.records('records'),
      ledger: engine.log('ledger'),
      queue: environment.queue('mail'),
      boxes: { mail: closer.add(await openSlots(join(data, nodeFiles.boxes.mail))) },
      close: () => closer.close(),
    };
  } catch (error) {
    await closer.close();
    throw error;
  }
}
