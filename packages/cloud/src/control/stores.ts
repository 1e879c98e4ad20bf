import { join } from 'node:path';
import { type Clock, type Closable, Closer, type Metrics, noMetrics, systemClock } from '@millrace/base';
import { type Log, openLmdb, type Queue, type RecordStore } from '@millrace/stores';
import { openSlots, type Slots } from '@millrace/vault';
import { nodeFiles } from '../config.ts';
import { openNodeCluster, requireFiles } from '../node/cluster.ts';
import { openNodeQueue } from '../node/cluster-queue.ts';
import type { ClusterSettings } from '../settings.ts';

/** The stores of a control node. */
export interface ControlStores {
  readonly records: RecordStore;
  readonly ledger: Log;
  readonly boxes: { readonly mail: Slots };
}

/**
 * @param folder folder of the node, which no running process uses
 * @param cluster where records and ledger are, if not in the folder, and, if it names Kafka, the mail of the nodes
 */
export async function openControlStores(
  folder: string,
  cluster?: ClusterSettings,
  { clock = systemClock, metrics = noMetrics }: { clock?: Clock; metrics?: Metrics } = {},
): Promise<ControlStores & { readonly queue: Queue } & Closable> {
  const closer = new Closer();
  const data = join(folder, nodeFiles.data);
  try {
    if (cluster === undefined) await requireFiles(folder);
    const cassandra = cluster && closer.add(await openNodeCluster(folder, cluster, clock, metrics));
    const kafka = cluster?.kafka && closer.add(await openNodeQueue(folder, cluster.kafka, { clock, metrics }));
    const files = () => closer.add(openLmdb({ path: data }));
    const mail = kafka === undefined ? files() : undefined;
    const engine = cassandra ?? mail ?? files();
    return {
      records: engine.records('records'),
      ledger: engine.log('ledger'),
      queue: kafka ?? (mail ?? files()).queue('mail'),
      boxes: { mail: closer.add(await openSlots(join(data, nodeFiles.boxes.mail))) },
      close: () => closer.close(),
    };
  } catch (error) {
    await closer.close();
    throw error;
  }
}
