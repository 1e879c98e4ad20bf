import { type Closable, Closer, MillraceError, systemClock, systemRandom, toHex } from '@millrace/base';
import { readSettings } from '../../config.ts';
import { connectCluster } from '../../node/cluster.ts';
import { acquireLease } from '../../node/lease.ts';
import { closeWith } from '../../node/run.ts';
import { openKeysSlots } from '../stores.ts';
import { type Group, isInSync } from './group.ts';
import { lead } from './leader.ts';
import { openGroup, openStatements, replicaOf } from './run.ts';

// What commands do with the replicas of a keys node.

/** Longest wait for the lease of replicas that were stopped, ms. */
const LEASE_MS = 30_000;

interface Opened {
  readonly group: Group;
  /** Id of the replica in this folder. */
  readonly own: string;
  readonly engine: Awaited<ReturnType<typeof connectCluster>>;
}

async function openGroupIn(folder: string, connect: typeof connectCluster): Promise<Opened & Closable> {
  const settings = await readSettings(folder);
  const { cluster, role, id, installation } = settings;
  if (role !== 'keys' || cluster === undefined)
    throw new MillraceError(
      'E_CONFIG',
      'only a keys node whose state is in a cluster has replicas: move it with `millrace migrate keys --to cluster`',
    );
  const closer = new Closer();
  return closeWith(closer, async () => {
    const statements = closer.add(await openStatements(folder, { installation, node: id }));
    const engine = closer.add(await connect(folder, cluster, { clock: systemClock }));
    const group = await openGroup({ statements }, { folder }, engine);
    return { group, own: replicaOf(settings), engine, close: async () => undefined };
  });
}

/**
 * Works with the group of the keys node in a folder, which may be running.
 * @throws {MillraceError} E_CONFIG if its state is not in a cluster; as the cluster
 */
export async function withGroup<T>(
  folder: string,
  work: (opened: Opened) => Promise<T>,
  connect: typeof connectCluster = connectCluster,
): Promise<T> {
  const opened = await openGroupIn(folder, connect);
  try {
    return await work(opened);
  } finally {
    await opened.close();
  }
}

/** Other replicas of the keys node in this folder. @throws {MillraceError} as `withGroup` */
export function otherReplicas(folder: string, connect: typeof connectCluster = connectCluster): Promise<string[]> {
  const others = async ({ group, own }: Opened) => {
    const members = (await group.read())?.members ?? [];
    return members.map(({ id }) => id).filter((id) => id !== own);
  };
  return withGroup(folder, others, connect);
}

/** @throws {MillraceError} E_STATE if the replica in this folder does not have the newest keys; as `withGroup` */
export function requireInSync(folder: string): Promise<void> {
  return withGroup(folder, async ({ group, own }) => {
    const state = await group.read();
    if (state !== undefined && !isInSync(state, own))
      throw new MillraceError('E_STATE', `the replica ${own} does not have the newest keys: use one that is in sync`);
  });
}

/**
 * Leads the group for a command that changes slots while the node is stopped, until it is closed. The other replicas are
 * not in sync afterwards, and take over the slots of this one when they are started.
 * @throws {MillraceError} E_CONFLICT if a replica is active; E_STANDBY if this one is not in sync; as `withGroup`
 */
export async function leadOffline(
  folder: string,
  { connect = connectCluster, waitMs = LEASE_MS }: OfflineOptions = {},
): Promise<Closable> {
  const closer = new Closer();
  try {
    const { group, own, engine } = closer.add(await openGroupIn(folder, connect));
    const waiting = AbortSignal.timeout(waitMs);
    const options = { role: 'keys', records: engine.records('leases'), node: own, clock: systemClock } as const;
    const lease = await acquireLease({ ...options, holder: toHex(systemRandom(16)) }, waiting).catch(
      (error: unknown) => {
        if (!waiting.aborted) throw error;
        throw new MillraceError('E_CONFLICT', 'a replica of the keys node is active: stop all of them first');
      },
    );
    closer.add({ close: () => lease.giveBack() });
    const slots = closer.add(await openKeysSlots(folder));
    if ((await group.read()) !== undefined) await lead({ group, own, token: lease.token, slots }, 'alone');
    return closer;
  } catch (error) {
    await closer.close();
    throw error;
  }
}

export interface OfflineOptions {
  readonly connect?: typeof connectCluster;
  /** Longest wait for the lease, ms. */
  readonly waitMs?: number;
}
