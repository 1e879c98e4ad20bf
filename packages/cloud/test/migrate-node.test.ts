import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, toHex, u32be, u64be, utf8 } from '@millrace/base';
import type { Cassandra } from '@millrace/cluster';
import { firstDocument, signDirectory } from '@millrace/protocol';
import {
  type Cells,
  type Log,
  MemoryCells,
  MemoryLog,
  MemoryRecords,
  openLogQueue,
  type Queue,
  type RecordStore,
} from '@millrace/stores';
import { createProtocolFixture } from '@millrace/testkit/protocol/support';
import { openFileKeyWrapper } from '@millrace/vault';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type NodeState, tallyState } from '../src/admin/copy-state.ts';
import { cancelMigration, type MigrateOptions, type MovableRole, migrateNode } from '../src/admin/migrate-node.ts';
import { nodeFiles } from '../src/config.ts';
import { openControlStores } from '../src/control/stores.ts';
import { Group } from '../src/keys/replicas/group.ts';
import { leadOffline } from '../src/keys/replicas/offline.ts';
import { openStatements } from '../src/keys/replicas/run.ts';
import { Statements } from '../src/keys/replicas/statements.ts';
import { openKeysStores, openPlaybook, sealState } from '../src/keys/stores.ts';
import { SeenEpoch } from '../src/node/rollback-guard.ts';
import { openSegmentsStores } from '../src/segments/stores.ts';
import type { ClusterSettings } from '../src/settings.ts';

// Real LMDB and files of cells; the cluster is in memory. tests/heavy/migrate.test.ts uses Cassandra.

const cluster: ClusterSettings = { contactPoints: ['127.0.0.1:9'], localDataCenter: 'dc', keyspace: 'ours' };
const SECRET = 'a text that only the state of this node contains';

const { keys, directory } = createProtocolFixture();
let folder: string;
let remote: {
  records: RecordStore;
  dataKey: RecordStore;
  replicas: RecordStore;
  ledger: Log;
  mail: Log;
  playbook: Log;
  cells: Cells;
};
let erased: number;
let sequence = 0;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-migrate-'));
  erased = 0;
  clear();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function clear(): void {
  remote = {
    records: new MemoryRecords(),
    dataKey: new MemoryRecords(),
    replicas: new MemoryRecords(),
    ledger: new MemoryLog(),
    mail: new MemoryLog(),
    playbook: new MemoryLog(),
    cells: new MemoryCells(),
  };
}

async function connect(): Promise<Cassandra> {
  return {
    records: (name: string) => ({ 'data-key': remote.dataKey, replicas: remote.replicas })[name] ?? remote.records,
    log: (name: string) => remote[name as 'ledger' | 'mail' | 'playbook'],
    cells: () => remote.cells,
    erase: async () => {
      erased++;
      clear();
    },
    close: async () => undefined,
  };
}

async function makeNode(role: MovableRole): Promise<void> {
  const { installation, adminKey } = directory;
  const settings = { role, id: `${role}-1`, installation, adminKey };
  await writeFile(join(folder, nodeFiles.settings), JSON.stringify(settings));
  await writeDirectory();
  if (role === 'control') {
    const stores = await openControlStores(folder);
    const writer = await stores.ledger.acquire();
    await writer.append(
      Array.from({ length: 300 }, (_, i) => ({ put: u64be(BigInt(i)), value: utf8(`${SECRET} ${i}`) })),
    );
    await fill(stores.records);
    await stores.queue.publish('keys-1', 'mail', 'm1', utf8('mail that moves'));
    await stores.close();
    return;
  }
  if (role === 'keys') {
    const stores = await openKeysStores(folder);
    await fill(stores.records);
    const id = new Uint8Array(16).fill(1);
    const playbook = await openPlaybook(stores, 50);
    await playbook.close();
    await (await stores.playbook.acquire()).append([{ put: id, value: utf8(SECRET) }]);
    await stores.close();
    return;
  }
  const stores = await openSegmentsStores(folder);
  await fill(stores.records);
  await (await SeenEpoch.open(stores.records)).note(7);
  const { cells } = stores.cells;
  for (const epoch of [4, 5, 6, 7]) await cells.create(epoch);
  for (const epoch of [5, 6, 7])
    await cells.put(
      Array.from({ length: 18 }, (_, i) => ({
        index: u32be(epoch * 1_000 + i),
        epoch,
        body: Buffer.concat([utf8(SECRET), new Uint8Array(16_386 - SECRET.length).fill(i)]),
      })),
    );
  await stores.close();
}

async function writeDirectory(more: readonly (typeof directory.nodes)[number][] = []): Promise<void> {
  const first = firstDocument({ ...directory, nodes: [...directory.nodes, ...more] }, 1);
  const document = { ...first, sequence: ++sequence };
  await writeFile(join(folder, nodeFiles.directory), JSON.stringify(await signDirectory(keys.admin, document)));
}

async function fill(records: RecordStore): Promise<void> {
  const indexed = records.collection('prints', { indexes: { all: () => [{ group: 'all' }] } });
  for (let i = 0; i < 40; i++) await indexed.put(`p${i}`, utf8(`${SECRET} ${i}`));
  await records.collection('other').put('k', utf8(SECRET));
}

const options = (role: MovableRole, more: Partial<MigrateOptions> = {}): MigrateOptions => ({
  folder,
  role,
  to: 'cluster',
  cluster,
  clock: systemClock,
  connect,
  ...more,
});

const settingsOf = async () => JSON.parse(await readFile(join(folder, nodeFiles.settings), 'utf8'));
const there = (file: string) =>
  access(join(folder, file)).then(
    () => true,
    () => false,
  );

/** Every file of the folder, to look for what must not be there. */
async function allBytes(): Promise<Buffer> {
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  return Buffer.concat(
    await Promise.all(files.filter((file) => file.isFile()).map((file) => readFile(join(file.parentPath, file.name)))),
  );
}

async function tallyFiles(role: MovableRole) {
  if (role === 'keys') {
    const stores = await openKeysStores(folder);
    return tallyState({ records: stores.records, playbook: stores.playbook }, 0).finally(() => stores.close());
  }
  const stores = role === 'control' ? await openControlStores(folder) : await openSegmentsStores(folder);
  const cells = 'cells' in stores ? { cells: stores.cells.cells } : { ledger: stores.ledger };
  const tally = await tallyState({ records: stores.records, ...cells }, 6);
  await stores.close();
  return tally;
}

/** The state of the node as it finds it in the cluster. */
async function remoteState(role: MovableRole): Promise<NodeState> {
  if (role === 'control') return { records: remote.records, ledger: remote.ledger };
  if (role === 'segments') return { records: remote.records, cells: remote.cells };
  const wrapper = await openFileKeyWrapper(join(folder, nodeFiles.kek));
  const state = await sealState(await connect(), wrapper);
  return { records: state.records('records'), playbook: state.log('playbook') };
}

const STEPS = ['clear', 'copy', 'compare', 'decide', 'settings', 'erase', 'end'] as const;

describe.each(['control', 'segments', 'keys'] as const)('moving the state of a %s node', (role) => {
  it('to a cluster and back loses nothing, and leaves no copy behind', async () => {
    await makeNode(role);
    const before = await tallyFiles(role);
    const { moved } = await migrateNode(options(role));
    const mail = { count: 2, sha256: expect.any(String) };
    expect(moved).toEqual(role === 'control' ? { ...before, mail } : before);
    expect(before.records.count).toBe(role === 'segments' ? 42 : 41);
    if (role === 'control') expect(before.ledger?.count).toBe(300);
    else if (role === 'segments') expect(before.cells?.count).toBe(36);
    else expect(before.playbook?.count).toBe(4); // two sets of decoys, the state, and the secret text
    expect((await settingsOf()).cluster).toEqual(cluster);
    expect(await readFile(join(folder, nodeFiles.keyspace), 'utf8')).toBe('ours\n');
    expect((await allBytes()).includes(SECRET)).toBe(false);
    expect(await there(nodeFiles.migration)).toBe(false);
    await expect(migrateNode(options(role))).rejects.toMatchObject({ code: 'E_STATE' });

    // The index that the node declares works over what was copied.
    const { records } = await remoteState(role);
    const prints = records.collection('prints', { indexes: { all: () => [{ group: 'all' }] } });
    expect((await prints.page({ index: 'all', group: 'all', limit: 100 })).entries).toHaveLength(40);
  });

  it.each(STEPS)('completes after an end before the step %s, in both directions', async (step) => {
    await makeNode(role);
    const before = await tallyFiles(role);
    const ends = (each: string) => {
      if (each === step) throw new Error('killed');
    };
    await expect(migrateNode(options(role, { onStep: ends }))).rejects.toThrow('killed');
    const open = { control: openControlStores, segments: openSegmentsStores, keys: openKeysStores }[role];
    await expect(open(folder)).rejects.toMatchObject({ code: 'E_STATE' });
    await expect(open(folder, cluster)).rejects.toMatchObject({ code: 'E_STATE' });
    // Half of another copy must not survive.
    if (step === 'compare') await remote.records.collection('stray').put('k', utf8('v'));
    await migrateNode(options(role));
    expect(await tallyState(await remoteState(role), 0)).toEqual(before);
    expect((await allBytes()).includes(SECRET)).toBe(false);

    const back = options(role, { to: 'files', cluster: undefined });
    await expect(migrateNode({ ...back, onStep: ends })).rejects.toThrow('killed');
    await migrateNode(back);
    expect(await tallyFiles(role)).toEqual(before);
    expect(erased).toBeGreaterThan(0);
    expect((await settingsOf()).cluster).toBeUndefined();
    expect(await there(nodeFiles.keyspace)).toBe(false);
  });
});

describe('a move is refused', () => {
  it('while the node runs', async () => {
    await makeNode('control');
    const node = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)', '--', '--folder', folder]);
    try {
      await once(node, 'spawn');
      await expect(migrateNode(options('control'))).rejects.toMatchObject({ code: 'E_CONFLICT' });
    } finally {
      node.kill('SIGKILL');
    }
    await once(node, 'exit');
    await migrateNode(options('control'));
  });

  it('to a keyspace with the state of another node, which stays as it is', async () => {
    await makeNode('control');
    await remote.records.collection('others').put('k', utf8('v'));
    await expect(migrateNode(options('control'))).rejects.toMatchObject({ code: 'E_CONFLICT' });
    expect(await remote.records.collection('others').get('k')).toEqual(utf8('v'));
    expect(erased).toBe(0);
    await (await openControlStores(folder)).close();
  });

  it('back to files while another node uses the keyspace', async () => {
    await makeNode('segments');
    await migrateNode(options('segments'));
    const [first] = directory.nodes.filter((node) => node.role === 'segments');
    const other = { id: 'segments-2', fingerprint: 'e'.repeat(64), identity: toHex(keys.ephemeral.publicKey) };
    await writeDirectory(first && [{ ...first, ...other }]);
    const back = options('segments', { to: 'files', cluster: undefined });
    await expect(migrateNode(back)).rejects.toMatchObject({
      code: 'E_STATE',
      message: expect.stringMatching(/1 other/),
    });
    await writeDirectory();
    await migrateNode(back);
  });

  it('back to files while a keys node has other replicas, whose keys would not follow', async () => {
    await makeNode('keys');
    await migrateNode(options('keys'));
    const kek = new Uint8Array(await readFile(join(folder, nodeFiles.kek)));
    const { installation } = directory;
    const statements = new Statements({ installation, node: 'keys-1' }, kek);
    const group = await Group.open({ records: remote.replicas, statements, seenFile: join(folder, 'seen') });
    await group.found('keys-1');
    const back = options('keys', { to: 'files', cluster: undefined });
    await group.change((state) => ({ ...state, members: [...state.members, { id: 'keys-1-b', inSync: false }] }));
    await expect(migrateNode(back)).rejects.toMatchObject({
      code: 'E_STATE',
      message: expect.stringMatching(/keys-1-b/),
    });
    await group.change((state) => ({ ...state, members: state.members.slice(0, 1) }));
    await migrateNode(back);
  });

  it('of slots by a command while a replica is active, or has newer ones', async () => {
    await makeNode('keys');
    await migrateNode(options('keys'));
    const statements = await openStatements(folder, { installation: directory.installation, node: 'keys-1' });
    const group = await Group.open({ records: remote.replicas, statements, seenFile: join(folder, 'seen') });
    await group.found('keys-1');
    await group.change((state) => ({ ...state, members: [...state.members, { id: 'keys-1-b', inSync: true }] }));
    const offline = await leadOffline(folder, { connect });
    expect(await group.read()).toMatchObject({
      active: 'keys-1',
      members: [
        { id: 'keys-1', inSync: true },
        { id: 'keys-1-b', inSync: false, oldest: expect.any(Number) },
      ],
    });
    await expect(leadOffline(folder, { connect, waitMs: 100 })).rejects.toMatchObject({ code: 'E_CONFLICT' });
    await offline.close();
    await (await leadOffline(folder, { connect })).close();
    await group.change(({ members, ...rest }) => ({
      ...rest,
      members: members.map(({ id }) => ({ id, inSync: id === 'keys-1-b' })),
    }));
    await expect(leadOffline(folder, { connect })).rejects.toMatchObject({ code: 'E_STANDBY' });
    statements.close();
  });

  it('for the wrong role, without a cluster, where the state already is, and while another move is under way', async () => {
    await makeNode('control');
    for (const [wrong, code] of [
      [options('segments'), 'E_STATE'],
      [options('control', { cluster: undefined }), 'E_INPUT'],
      [options('control', { to: 'files', cluster: undefined }), 'E_STATE'],
    ] as const)
      await expect(migrateNode(wrong)).rejects.toMatchObject({ code });
    const ends = (step: string) => {
      if (step === 'copy') throw new Error('killed');
    };
    await expect(migrateNode(options('control', { onStep: ends }))).rejects.toThrow('killed');
    const other = { ...cluster, keyspace: 'theirs' };
    await expect(migrateNode(options('control', { cluster: other }))).rejects.toMatchObject({ code: 'E_STATE' });
    await expect(migrateNode(options('control', { to: 'files', cluster: undefined }))).rejects.toMatchObject({
      code: 'E_STATE',
    });
  });

  it('when the copy differs, and the state stays where it was', async () => {
    await makeNode('control');
    const change = (step: string) =>
      step === 'compare' ? void remote.records.collection('other').put('k', utf8('changed')) : undefined;
    await expect(migrateNode(options('control', { onStep: change }))).rejects.toMatchObject({ code: 'E_STORE' });
    expect(await there(nodeFiles.keyspace)).toBe(false);
    await cancelMigration(options('control'));
    expect(erased).toBe(2);
    const stores = await openControlStores(folder);
    expect(await stores.records.collection('other').get('k')).toEqual(utf8(SECRET));
    await stores.close();
  });
});

it('a move can be undone before its decision, not after it', async () => {
  await makeNode('segments');
  await expect(cancelMigration(options('segments'))).rejects.toMatchObject({ code: 'E_STATE' });
  const endsAt = (at: string) => (step: string) => {
    if (step === at) throw new Error('killed');
  };
  await expect(migrateNode(options('segments', { onStep: endsAt('decide') }))).rejects.toThrow('killed');
  expect(await remote.records.collections()).not.toEqual([]);
  await cancelMigration(options('segments'));
  expect(await remote.records.collections()).toEqual([]);
  await expect(migrateNode(options('segments', { onStep: endsAt('settings') }))).rejects.toThrow('killed');
  await expect(cancelMigration(options('segments'))).rejects.toMatchObject({ code: 'E_STATE' });
  await migrateNode(options('segments'));
});

describe('mail of a control node', () => {
  const kafka = { brokers: ['127.0.0.1:9'], prefix: 'ours' };
  let topics: Log | undefined;
  beforeEach(() => {
    topics = undefined;
  });
  /** Takes the queue over, as each process does that opens it. */
  const connectMail = () => {
    topics ??= new MemoryLog();
    return openLogQueue(topics, { clock: systemClock });
  };
  const mail = {
    open: connectMail,
    exists: async () => topics !== undefined,
    erase: async () => {
      topics = undefined;
    },
  };
  const toKafka = (more: Partial<MigrateOptions> = {}) =>
    options('control', { cluster: { ...cluster, kafka }, mail, ...more });
  const back = (more: Partial<MigrateOptions> = {}) =>
    options('control', { to: 'files', cluster: undefined, mail, ...more });
  const waiting = async (queue: Queue, topic: string) =>
    (await queue.claim(topic, { consumer: 'c', limit: 100, leaseMs: 1 })).map(({ id, message }) => [
      id,
      message.length,
    ]);
  const publish = async () => {
    const stores = await openControlStores(folder);
    for (let i = 0; i < 300; i++) await stores.queue.publish('keys-1', `k${i % 3}`, `id${i}`, new Uint8Array(i));
    await stores.queue.publish('control', 'control', 'own', utf8('opened'));
    await stores.queue.publish('segments-1', 'k', 'done', utf8('done'));
    await stores.queue.acknowledge('segments-1', ['done']);
    await stores.close();
  };

  it('moves to Kafka and back in the order of each key, and is erased there', async () => {
    await makeNode('control');
    await publish();
    const { moved } = await migrateNode(toKafka());
    expect(moved?.messages?.count).toBe(302);
    expect(await readFile(join(folder, nodeFiles.keyspace), 'utf8')).toBe('ours (mail: Kafka, ours)\n');
    const broker = await connectMail();
    expect(await broker.depth('segments-1')).toBe(0);
    await broker.acknowledge('keys-1', ['id0', 'm1']); // as a node does that runs meanwhile
    expect((await migrateNode(back())).moved?.messages?.count).toBe(300);
    for (const topic of ['control', 'keys-1']) expect(await (await connectMail()).depth(topic)).toBe(0);
    const stores = await openControlStores(folder);
    const { queue } = stores;
    const found = new Map<string, number[]>();
    for (;;) {
      const claimed = await queue.claim('keys-1', { consumer: 'c', limit: 100, leaseMs: 60_000 });
      if (claimed.length === 0) break;
      for (const { key, id, message } of claimed) {
        expect(id).toBe(`id${message.length}`);
        found.set(key, [...(found.get(key) ?? []), message.length]);
      }
    }
    for (const key of [0, 1, 2])
      expect(found.get(`k${key}`)).toEqual(Array.from({ length: 100 }, (_, i) => 3 * i + key).filter((i) => i > 0));
    expect(await waiting(queue, 'control')).toEqual([['own', 6]]);
    await stores.close();
  });

  it.each(STEPS)('is all there after an end before the step %s, in both directions', async (step) => {
    await makeNode('control');
    await publish();
    const ends = (each: string) => {
      if (each === step) throw new Error('killed');
    };
    await expect(migrateNode(toKafka({ onStep: ends }))).rejects.toThrow('killed');
    await migrateNode(toKafka());
    expect(await (await connectMail()).depth('keys-1')).toBe(301);
    await expect(migrateNode(back({ onStep: ends }))).rejects.toThrow('killed');
    await migrateNode(back());
    const stores = await openControlStores(folder);
    expect(await stores.queue.depth('keys-1')).toBe(301);
    await stores.close();
  });

  it('is not mixed with mail of another installation', async () => {
    await makeNode('control');
    await (await connectMail()).publish('keys-1', 'k', 'other', utf8('theirs'));
    await expect(migrateNode(toKafka())).rejects.toMatchObject({ code: 'E_CONFLICT' });
    expect(await (await connectMail()).depth('keys-1')).toBe(1);
  });
});

it('mail moves with control, there and back', async () => {
  await makeNode('control');
  await migrateNode(options('control'));
  const stores = await openControlStores(folder).catch((error: unknown) => error);
  expect(stores).toMatchObject({ code: 'E_CONFIG' });
  await migrateNode(options('control', { to: 'files', cluster: undefined }));
  const again = await openControlStores(folder);
  const claimed = await again.queue.claim('keys-1', { consumer: 'c', limit: 10, leaseMs: 1_000 });
  expect(claimed.map(({ message }) => message)).toEqual([utf8('mail that moves')]);
  await again.close();
});
