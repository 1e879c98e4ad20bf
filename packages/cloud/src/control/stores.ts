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
import { type NodeConfig, nodeFiles } from '../config.ts';
import { openNodeCluster, requireFiles } from '../node/cluster.ts';
import { openNodeQueue } from '../node/cluster-queue.ts';
import { endingLease } from '../node/ending-lease.ts';
import type { Lease } from '../node/lease.ts';
import type { ProcessModules } from '../node/modules.ts';
import type { ClusterSettings } from '../settings.ts';
import { OWN_TOPIC } from './own-mail.ts';

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

/** Connections to a cluster, opened before the node is active. */
export interface Connections extends Closable {
  readonly cassandra: Cassandra;
  /** If the settings name Kafka. It follows the mail of the nodes, so that it can deliver it at once. */
  readonly queue: Queue | undefined;
}

/**
 * Connects to the cluster of a control node.
 * @param guard called before each request to Cassandra; throws when this process is no longer active
 * @throws {MillraceError} E_CONFIG, E_UNAVAILABLE, E_TIMEOUT
 */
export async function connectStores(
  { folder, directory }: Pick<NodeConfig, 'folder' | 'directory'>,
  cluster: ClusterSettings,
  { clock, metrics, logger }: Pick<ProcessModules, 'clock' | 'metrics' | 'logger'>,
  guard: () => void,
): Promise<Connections> {
  return opening(async (closer) => {
    const cassandra = closer.add(await openNodeCluster(folder, cluster, { clock, metrics, logger }, { guard }));
    if (cluster.kafka === undefined) return { cassandra, queue: undefined };
    const queue = closer.add(await openNodeQueue(folder, cluster.kafka, { clock, metrics }));
    const proactive = directory.nodes.filter(({ role }) => role === 'keys' || role === 'segments');
    await Promise.all([OWN_TOPIC, ...proactive.map(({ id }) => id)].map((topic) => queue.depth(topic)));
    return { cassandra, queue };
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
  { lease, connections }: { readonly lease: Pick<Lease, 'end'>; readonly connections: Connections },
  { clock }: Pick<ProcessModules, 'clock'>,
): Promise<OpenStores> {
  return opening(async (closer) => {
    const { cassandra, queue } = closer.add(connections);
    const log = (name: string) => endingLease(cassandra.log(name), lease);
    if (queue === undefined) await takeEarlierMail(join(folder, nodeFiles.data), log('mail'));
    return {
      records: cassandra.records('records'),
      ledger: log('ledger'),
      sessions: cassandra.records('sessions'),
      queue: queue ?? closer.add(await openLogQueue(log('mail'), { clock })),
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

async function opening<T extends object>(open: (closer: Closer) => Promise<T>): Promise<T & Closable> {
  const closer = new Closer();
  try {
    return { ...(await open(closer)), close: () => closer.close() };
  } catch (error) {
    await closer.close();
    throw error;
  }
}
