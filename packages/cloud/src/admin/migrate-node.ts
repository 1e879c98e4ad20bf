import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import {
  type Clock,
  type Closable,
  Closer,
  eraseDurably,
  MillraceError,
  noMetrics,
  parse,
  removeDurably,
  writeDurably,
} from '@millrace/base';
import { type Directory, nodesOf, openDirectory } from '@millrace/protocol';
import { keepStores, openLmdb, openLogQueue } from '@millrace/stores';
import { openFileEngine, openFileKeyWrapper } from '@millrace/vault';
import { nodeFiles, readSettings } from '../config.ts';
import { OWN_TOPIC } from '../control/own-mail.ts';
import { otherReplicas } from '../keys/replicas/offline.ts';
import { sealState } from '../keys/stores.ts';
import { connectCluster } from '../node/cluster.ts';
import { eraseNodeQueue, hasNodeQueue, openNodeQueue } from '../node/cluster-queue.ts';
import { folderProcess } from '../node/folder-process.ts';
import { placeOf, readKeyspace, removeKeyspace, writeKeyspace } from '../node/keyspace.ts';
import { type Migration, readMigration, removeMigration, writeMigration } from '../node/migration.ts';
import { SeenEpoch } from '../node/rollback-guard.ts';
import { type ClusterSettings, clusterSchema, type KafkaSettings } from '../settings.ts';
import type { Mail } from './copy-mail.ts';
import { copyState, isEmpty, type NodeState, type StateTally, tallyState } from './copy-state.ts';

// Moves the state of a stopped node between its folder and a cluster (docs/adr/0088). Steps, each durable:
// migration.json is written; the state is copied and compared; `keyspace` is written or removed, which is the decision;
// node.json is changed; the former state is erased; migration.json is removed. Until it is, the node does not start.

export const movableRoles = ['control', 'segments', 'keys'] as const;
export type MovableRole = (typeof movableRoles)[number];

export interface MigrateOptions {
  /** The node's folder; no process uses it. */
  readonly folder: string;
  readonly role: MovableRole;
  readonly to: Migration['to'];
  /** Needed to begin a move to a cluster. */
  readonly cluster?: ClusterSettings | undefined;
  readonly clock: Clock;
  /** Opens the cluster. Default: Cassandra. */
  readonly connect?: typeof connectCluster | undefined;
  /** Opens and erases mail in the cluster. Default: Kafka. */
  readonly mail?: typeof kafka | undefined;
  /** Called before each step, with its name. */
  readonly onStep?: ((step: string) => void) | undefined;
}

const kafka = { open: openNodeQueue, exists: hasNodeQueue, erase: eraseNodeQueue };

type Place = Pick<MigrateOptions, 'folder' | 'role' | 'clock' | 'connect' | 'mail'>;

/** What was moved; undefined if an earlier call had already decided, and this one completed it. */
export type Migrated = { readonly to: Migration['to']; readonly moved: StateTally | undefined };

/**
 * Begins or continues a move.
 * @throws {MillraceError} E_CONFLICT if the node runs, or if the target has state of its own
 * @throws {MillraceError} E_STATE if the state is already there, another move is under way, or the node shares its state
 * with others; E_STORE if the copy differs; E_CONFIG; as the stores. The state is then where it was.
 */
export async function migrateNode(options: MigrateOptions): Promise<Migrated> {
  await requireStopped(options.folder);
  return migrate(options);
}

/** `cluster` of a file, in the form of `node.json`, for a node of this role. @throws {MillraceError} E_INPUT */
export function parseClusterSettings(json: unknown, role: MovableRole): ClusterSettings {
  const cluster = parse(clusterSchema, json, '--cluster');
  if (role !== 'control' && cluster.kafka !== undefined)
    throw new MillraceError('E_INPUT', '--cluster: kafka: only control nodes keep mail');
  return cluster;
}

/**
 * Gives a move up and erases what was copied.
 * @throws {MillraceError} E_STATE if none is under way, or if it is already decided
 */
export async function cancelMigration(options: Omit<MigrateOptions, 'to' | 'cluster' | 'onStep'>): Promise<void> {
  const { folder } = options;
  await requireStopped(folder);
  const migration = await readMigration(folder);
  if (migration === undefined) throw new MillraceError('E_STATE', `no move of ${folder} is under way`);
  if (await isDecided(folder, migration))
    throw new MillraceError('E_STATE', 'the state is already moved: run `millrace migrate` again to complete it');
  await erase(options, migration.to, migration.cluster);
  await removeMigration(folder);
}

/** @throws {MillraceError} E_CONFLICT */
async function requireStopped(folder: string): Promise<void> {
  const pid = await folderProcess(folder);
  if (pid !== undefined)
    throw new MillraceError('E_CONFLICT', `process ${pid} uses ${folder}: stop the node first`, { data: { pid } });
}

async function migrate(options: MigrateOptions): Promise<Migrated> {
  const { folder, to, onStep = () => undefined } = options;
  const before = await readMigration(folder);
  const migration = before ?? (await begin(options));
  if (migration.to !== to || (options.cluster && !isDeepStrictEqual(options.cluster, migration.cluster)))
    throw new MillraceError('E_STATE', `another move of ${folder} is under way: complete it, or undo it with --cancel`);
  const { cluster } = migration;
  let moved: StateTally | undefined;
  if (!(await isDecided(folder, migration))) {
    if (before === undefined) await writeMigration(folder, migration);
    onStep('clear');
    await erase(options, to, cluster);
    moved = await copy(options, cluster);
    onStep('decide');
    if (to === 'cluster') await writeKeyspace(folder, placeOf(cluster));
    else await removeKeyspace(folder);
  }
  onStep('settings');
  await writeClusterSetting(folder, to === 'cluster' ? cluster : undefined);
  onStep('erase');
  await erase(options, to === 'cluster' ? 'files' : 'cluster', cluster);
  onStep('end');
  await removeMigration(folder);
  return { to, moved };
}

async function isDecided(folder: string, { to, cluster }: Migration): Promise<boolean> {
  const keyspace = await readKeyspace(folder);
  return to === 'cluster' ? keyspace === placeOf(cluster) : keyspace === undefined;
}

/** Checks a move that is not under way yet, and changes nothing. */
async function begin(options: MigrateOptions): Promise<Migration> {
  const { folder, role, to, cluster } = options;
  const settings = await readSettings(folder);
  if (settings.role !== role) throw new MillraceError('E_STATE', `${folder} is the folder of a ${settings.role} node`);
  const keyspace = await readKeyspace(folder);
  if (to === 'cluster') {
    if (keyspace !== undefined) throw new MillraceError('E_STATE', `its state is already in keyspace ${keyspace}`);
    if (cluster === undefined) throw new MillraceError('E_INPUT', '--cluster is missing: which cluster?');
    const { mail = kafka } = options;
    if (cluster.kafka !== undefined && (await mail.exists(folder, cluster.kafka)))
      throw new MillraceError(
        'E_CONFLICT',
        `topics of ${cluster.kafka.prefix} exist in Kafka: choose another prefix, or delete them if nobody uses them`,
      );
    await requireEmpty(await openCluster(options, { ...cluster, kafka: undefined }), cluster.keyspace);
    return { to, cluster };
  }
  if (keyspace === undefined) throw new MillraceError('E_STATE', 'its state is already in its folder');
  if (settings.cluster === undefined || placeOf(settings.cluster) !== keyspace)
    throw new MillraceError('E_CONFIG', `${nodeFiles.settings} does not name the cluster of keyspace ${keyspace}`);
  await requireAlone(options, settings);
  return { to, cluster: settings.cluster };
}

/** Nodes that share a keyspace move back together, which is not possible. */
async function requireAlone({ folder, clock, connect }: Place, settings: Settings): Promise<void> {
  const { role } = settings;
  const others = nodesOf(await directoryIn(folder, settings, clock), role).length - 1;
  if (others > 0)
    throw new MillraceError('E_STATE', `${others} other ${role} node(s) use its keyspace: retire them first`);
  const replicas = role === 'keys' ? await otherReplicas(folder, connect) : [];
  if (replicas.length > 0)
    throw new MillraceError('E_STATE', `its replicas use its keyspace: remove ${replicas.join(', ')} first`);
}

type Settings = Awaited<ReturnType<typeof readSettings>>;

async function directoryIn(
  folder: string,
  { installation, adminKey }: Pick<Settings, 'installation' | 'adminKey'>,
  clock: Clock,
): Promise<Directory> {
  const path = join(folder, nodeFiles.directory);
  return (await openDirectory({ path, folder, anchor: { installation, adminKey }, clock })).directory;
}

async function requireEmpty(state: NodeState & Closable, keyspace: string): Promise<void> {
  try {
    if (!(await isEmpty(state)))
      throw new MillraceError('E_CONFLICT', `keyspace ${keyspace} holds the state of a node: choose another keyspace`);
  } finally {
    await state.close();
  }
}

async function copy(options: MigrateOptions, cluster: ClusterSettings): Promise<StateTally> {
  const { role, to, onStep = () => undefined } = options;
  const closer = new Closer();
  try {
    const files = closer.add(await openFiles(options, cluster));
    const remote = closer.add(await openCluster(options, cluster));
    const [source, target] = to === 'cluster' ? [files, remote] : [remote, files];
    return await copyCompared(role, source, target, onStep);
  } finally {
    await closer.close();
  }
}

/** Copies a state into an empty one and compares both. @throws {MillraceError} E_STORE if they differ; as the stores */
export async function copyCompared(
  role: MovableRole,
  source: NodeState,
  target: NodeState,
  onStep: (step: string) => void = () => undefined,
): Promise<StateTally> {
  // The sweep to the newest epoch may be under way: cells of the epoch before it are then still in use.
  const oldest = role === 'segments' ? (await SeenEpoch.open(source.records)).epoch - 1 : 0;
  onStep('copy');
  const copied = await copyState(source, target, oldest);
  onStep('compare');
  if (!isDeepStrictEqual(copied, await tallyState(target, 0)))
    throw new MillraceError('E_STORE', 'the copy differs from the state of the node: run it again');
  return copied;
}

/** The stores of a node in its folder. @param cluster from or to which they are copied: its mail may be in Kafka */
export async function openFiles(
  { folder, role, clock }: Place,
  { kafka }: ClusterSettings,
): Promise<NodeState & Closable> {
  const data = join(folder, nodeFiles.data);
  const closer = new Closer();
  try {
    const environment = closer.add(openLmdb({ path: data }));
    const records = environment.records('records');
    const close = () => closer.close();
    if (role === 'control') {
      const ledger = environment.log('ledger');
      const mail = environment.log('mail');
      if (kafka === undefined) return { records, ledger, mail, close };
      const queue = closer.add(await openLogQueue(mail, { clock }));
      return { records, ledger, messages: { queue, topics: await topicsIn(folder, clock) }, close };
    }
    if (role === 'keys') return { records, playbook: environment.log('playbook'), close };
    const path = join(data, nodeFiles.cells);
    const { cells } = closer.add(await openFileEngine({ lmdb: environment, index: 'cell-index', path }));
    return { records, cells, close };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/** The stores of a node in a cluster. */
export async function openCluster(place: Place, cluster: ClusterSettings): Promise<NodeState & Closable> {
  const { folder, role, clock, connect = connectCluster } = place;
  const closer = new Closer();
  try {
    const engine = closer.add(await connect(folder, cluster, { clock }));
    const close = () => closer.close();
    if (role === 'keys') {
      const wrapper = closer.add(await openFileKeyWrapper(join(folder, nodeFiles.kek)));
      const state = await sealState(engine, wrapper);
      closer.add(state);
      return { records: state.records('records'), playbook: state.log('playbook'), close };
    }
    const records = engine.records('records');
    if (role === 'segments') return { records, cells: engine.cells('cells'), close };
    const ledger = engine.log('ledger');
    if (cluster.kafka === undefined) return { records, ledger, mail: engine.log('mail'), close };
    return { records, ledger, messages: closer.add(await openMail(place, cluster.kafka)), close };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

async function openMail({ folder, clock, mail = kafka }: Place, settings: KafkaSettings): Promise<Mail & Closable> {
  const topics = await topicsIn(folder, clock);
  const queue = await mail.open(folder, settings, { clock, metrics: noMetrics });
  return { queue, topics, close: () => queue.close() };
}

/** Topics in which mail may wait. */
async function topicsIn(folder: string, clock: Clock): Promise<string[]> {
  const directory = await directoryIn(folder, await readSettings(folder), clock);
  return [OWN_TOPIC, ...directory.nodes.map(({ id }) => id)];
}

/** Erases the state in one place. */
async function erase(place: Place, where: Migration['to'], cluster: ClusterSettings): Promise<void> {
  const { folder, role, clock, connect = connectCluster, mail = kafka } = place;
  if (where === 'cluster') {
    const engine = await connect(folder, cluster, { clock });
    if (role === 'keys') await removeDurably(join(folder, nodeFiles.data, nodeFiles.replicas));
    await engine.erase().finally(() => engine.close());
    if (cluster.kafka !== undefined) await mail.erase(folder, cluster.kafka);
    return;
  }
  const data = join(folder, nodeFiles.data);
  await keepStores(data, []);
  if (role === 'segments') await eraseDurably(join(data, nodeFiles.cells));
}

/** Sets or removes `cluster` in `node.json`. */
export async function writeClusterSetting(folder: string, cluster: ClusterSettings | undefined): Promise<void> {
  const path = join(folder, nodeFiles.settings);
  const { cluster: _former, ...settings } = JSON.parse(await readFile(path, 'utf8'));
  await writeDurably(path, `${JSON.stringify({ ...settings, ...(cluster && { cluster }) }, null, 2)}\n`, 0o644);
}
