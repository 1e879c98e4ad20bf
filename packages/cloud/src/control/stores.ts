import { join } from 'node:path';
import { type Closable, Closer, fileExists } from '@millrace/base';
import type { Cassandra } from '@millrace/cluster';
import {
  keepStores,
  type Log,
  MemoryRecords,
  openLmdb,
  openLogQueue,
  type Queue,
  type RecordStore,
} from '@millrace/stores';
import { openSlots, type Slots } from '@millrace/vault';
import { nodeFiles } from '../config.ts';
import { requireFiles } from '../node/cluster.ts';
import { openNodeQueue } from '../node/cluster-queue.ts';
import { endingLease } from '../node/ending-lease.ts';
import type { Lease } from '../node/lease.ts';
import type { ProcessModules } from '../node/modules.ts';
import type { ClusterSettings } from '../settings.ts';

/** The stores of a control node. */
export interface ControlStores {
  readonly records: RecordStore;
  readonly ledger: Log;
  /** Sessions of browsers. */
  readonly sessions: RecordStore;
  readonly boxes: { readonly mail: Slots };
}

type OpenStores = ControlStores & { readonly queue: Queue } & Closable;

/**
 * Opens the stores of a node whose state is in its folder.
 * @param folder folder of the node, which no running process uses
 */
export async function openControlStores(folder: string): Promise<OpenStores> {
  return opening(async (closer) => {
    await requireFiles(folder);
    const environment = closer.add(openLmdb({ path: join(folder, nodeFiles.data) }));
    return {
      records: environment.records('records'),
      ledger: environment.log('ledger'),
      sessions: new MemoryRecords(),
      queue: environment.queue('mail'),
      boxes: { mail: closer.add(await openBoxes(folder)) },
    };
  });
}

/**
 * Opens the stores of a node whose state is in a cluster, where other control nodes use them in turn. The mail of the
 * nodes is in Kafka if the settings name it. Every request to Cassandra is refused with E_FENCED once the lease has
 * ended, and the lease ends when another writer has taken over a log.
 * @throws {MillraceError} E_CONFIG, E_UNAVAILABLE, E_TIMEOUT
 */
export async function openSharedStores(
  folder: string,
  cluster: ClusterSettings,
  { lease, cassandra }: { readonly lease: Pick<Lease, 'end'>; readonly cassandra: Cassandra },
  modules: Pick<ProcessModules, 'clock' | 'metrics'>,
): Promise<OpenStores> {
  const { clock } = modules;
  return opening(async (closer) => {
    closer.add(cassandra);
    const { kafka } = cluster;
    const log = (name: string) => endingLease(cassandra.log(name), lease);
    if (kafka === undefined) await takeEarlierMail(join(folder, nodeFiles.data), log('mail'));
    return {
      records: cassandra.records('records'),
      ledger: log('ledger'),
      sessions: cassandra.records('sessions'),
      queue: closer.add(
        kafka === undefined ? await openLogQueue(log('mail'), { clock }) : await openNodeQueue(folder, kafka, modules),
      ),
      boxes: { mail: closer.add(await openBoxes(folder)) },
    };
  });
}

/** Before several control nodes were possible, the mail of a node in a cluster was in its folder. */
export async function takeEarlierMail(data: string, mail: Log): Promise<void> {
  if (!(await fileExists(join(data, 'data.mdb')))) return;
  const environment = openLmdb({ path: data });
  try {
    const writer = await mail.acquire();
    for await (const { key, value } of environment.log('mail').range()) await writer.append([{ put: key, value }]);
  } finally {
    await environment.close();
  }
  await keepStores(data, []);
}

const openBoxes = (folder: string) => openSlots(join(folder, nodeFiles.data, nodeFiles.boxes.mail));

async function opening(open: (closer: Closer) => Promise<Omit<OpenStores, 'close'>>): Promise<OpenStores> {
  const closer = new Closer();
  try {
    return { ...(await open(closer)), close: () => closer.close() };
  } catch (error) {
    await closer.close();
    throw error;
  }
}
