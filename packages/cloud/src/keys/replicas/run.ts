import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Closable, Closer, MillraceError, sleep, wipe } from '@millrace/base';
import { type Addresses, addressesOf, createHttpClient, tlsTo } from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { type KeyWrapper, openFileKeyWrapper } from '@millrace/vault';
import { type NodeConfig, nodeFiles } from '../../config.ts';
import { controlClient } from '../../node/api-clients.ts';
import { endingLease } from '../../node/ending-lease.ts';
import { followDirectory } from '../../node/follow-directory.ts';
import { openLeases } from '../../node/lease-store.ts';
import { type Leases, runMember, type Standby, type Turn } from '../../node/member.ts';
import type { ProcessModules } from '../../node/modules.ts';
import { closeWith } from '../../node/run.ts';
import type { ClusterSettings } from '../../settings.ts';
import { createKeysNode, type KeysNode } from '../keys-node.ts';
import { type KeysState, openKeysSlots, openKeysState } from '../stores.ts';
import { Follower } from './follower.ts';
import { Group, type GroupState, isInSync } from './group.ts';
import { Leader } from './leader.ts';
import type { SlotSets } from './messages.ts';
import { type ReplicatedNode, Statements } from './statements.ts';

const LOOK_MS = 500;

export interface ReplicaOptions {
  readonly config: NodeConfig;
  readonly addresses: Addresses;
  readonly takeoverMs?: number | undefined;
  /** See `runMember`. */
  readonly openLeases: () => Promise<Leases & Closable>;
  /** Opens the state of the node. @param check called before each request; throws if it may not be sent */
  readonly openState: (wrapper: KeyWrapper, check: () => void) => Promise<KeysState>;
}

/** The options of a replica whose state is in a cluster. */
export function inCluster(
  { folder }: Pick<NodeConfig, 'folder'>,
  cluster: ClusterSettings,
  modules: ProcessModules,
): Pick<ReplicaOptions, 'takeoverMs' | 'openLeases' | 'openState'> {
  return {
    takeoverMs: cluster.takeoverMs,
    openLeases: () => openLeases(folder, cluster, modules),
    openState: (wrapper, check) => openKeysState({ folder, cluster, wrapper }, modules, check),
  };
}

/** Id of this replica. The first one has the id of the node. */
export const replicaOf = ({ replica, id }: Pick<NodeConfig, 'replica' | 'id'>): string => replica ?? id;

const nodeOf = ({ directory, id }: NodeConfig): ReplicatedNode => ({ installation: directory.installation, node: id });

/** What this replica has for the life of its process. */
interface Own {
  readonly id: string;
  readonly slots: SlotSets;
  readonly wrapper: KeyWrapper;
  readonly statements: Statements;
}

/**
 * A replica of a keys node whose state is in a cluster (docs/adr/0094). One is active, the others are on standby and
 * have the slots of the active one.
 * @throws {MillraceError} E_CONFIG, E_STORE, E_UNAVAILABLE, E_TIMEOUT
 */
export async function runKeysReplica(options: ReplicaOptions, modules: ProcessModules): Promise<Closable> {
  const { config, takeoverMs, openLeases, openState } = options;
  const { folder } = config;
  const closer = new Closer();
  return closeWith(closer, async () => {
    const slots = closer.add(await openKeysSlots(folder));
    const wrapper = closer.add(await openFileKeyWrapper(join(folder, nodeFiles.kek)));
    const own: Own = {
      id: replicaOf(config),
      slots,
      wrapper,
      statements: closer.add(await openStatements(folder, nodeOf(config))),
    };
    return runMember(
      {
        ...{ config, role: 'keys', name: own.id, takeoverMs, openLeases },
        isReady: async (leases) => {
          const group = await openGroup(own, config, leases);
          if (config.replica === undefined) await group.found(own.id);
          const state = await group.read();
          requireMember(state, own, config);
          return isInSync(state, own.id);
        },
        openStandby: (leases) => openStandby(own, options, leases, modules),
        open: (check) => openState(wrapper, check),
        activate: (turn, opened) => activate(own, options, turn, opened, modules),
      },
      modules,
    );
  });
}

/** @throws {MillraceError} E_CONFIG, E_STATE */
function requireMember(state: GroupState | undefined, { id }: Own, { id: node }: NodeConfig): void {
  if (state === undefined)
    throw new MillraceError(
      'E_CONFIG',
      `this keyspace is not that of ${node}: name its cluster in ${nodeFiles.settings}`,
    );
  if (!state.members.some((member) => member.id === id))
    throw new MillraceError(
      'E_STATE',
      `${id} is no replica of ${node}: it was removed, and its disk has to be destroyed`,
    );
}

/** The key under which the replicas of the keys node in this folder write for each other. @throws {MillraceError} E_CONFIG */
export async function openStatements(folder: string, node: ReplicatedNode): Promise<Statements> {
  const path = join(folder, nodeFiles.kek);
  const kek = await readFile(path).catch((cause: unknown) => {
    throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
  });
  try {
    return new Statements(node, kek);
  } finally {
    wipe(kek);
  }
}

/** @param engine whose records are not sealed: who reads them is told who the replicas are, and nothing else */
export function openGroup(
  { statements }: Pick<Own, 'statements'>,
  { folder }: Pick<NodeConfig, 'folder'>,
  engine: { records(name: string): RecordStore },
): Promise<Group> {
  const seenFile = join(folder, nodeFiles.data, nodeFiles.replicas);
  return Group.open({ records: engine.records('replicas'), statements, seenFile });
}

/** Takes over the changes of the active replica, and what is new in the directory. */
async function openStandby(
  own: Own,
  { config, addresses }: ReplicaOptions,
  leases: Leases,
  modules: ProcessModules,
): Promise<Standby> {
  const logger = modules.logger.child({ node: own.id, role: 'keys' });
  const standby = new Closer();
  const { directory } = config;
  const http = standby.add(
    createHttpClient({
      addresses: () => addressesOf(directory, 'control', () => addresses.control),
      tls: tlsTo(directory, 'control', () => config.tls),
    }),
  );
  standby.add(followDirectory(config, { logger, sources: [controlClient(http)] }));
  const group = await openGroup(own, config, leases);
  const { id, slots, statements } = own;
  const records = leases.records('replicas');
  standby.add(new Follower({ records, statements, group, own: id, slots, logger }));
  return { prepare: (signal) => sleep(LOOK_MS, signal), close: () => standby.close() };
}

/** The keys node on the slots of this replica, which are replicated from now on. */
async function activate(
  own: Own,
  { config, addresses }: ReplicaOptions,
  { lease }: Turn,
  opened: KeysState,
  modules: ProcessModules,
): Promise<KeysNode> {
  const { id, slots, wrapper, statements } = own;
  const logger = modules.logger.child({ node: id, role: 'keys' });
  const closer = new Closer();
  closer.add(opened);
  return closeWith(closer, async () => {
    const group = await openGroup(own, config, opened.engine);
    const records = opened.engine.records('replicas');
    const leader = closer.add(
      await Leader.open({ records, statements, group, own: id, lease, slots, logger, metrics: modules.metrics }),
    );
    const stores = {
      records: opened.records('records'),
      playbook: endingLease(opened.log('playbook'), lease),
      wrapper,
      epochSlots: leader.slots('epoch'),
      designSlots: leader.slots('design'),
      boxes: { mail: leader.slots('mail'), attachments: leader.slots('attachments') },
    };
    lease.lost.throwIfAborted();
    return createKeysNode(
      {
        id: config.id,
        config,
        addresses,
        replica: { id, token: lease.token, destruction: () => leader.destruction() },
      },
      { ...modules, stores },
    );
  }).catch((error: unknown) => {
    // Another process may be active already.
    if (lease.lost.aborted) throw new MillraceError('E_FENCED', 'the lease has ended at the start', { cause: error });
    throw error;
  });
}
