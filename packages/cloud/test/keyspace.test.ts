import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryMetrics, silentLogger, systemClock } from '@millrace/base';
import type { Directory } from '@millrace/protocol';
import { MemoryLog, openLogQueue } from '@millrace/stores';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withRecords } from '../src/admin/offline.ts';
import { nodeFiles } from '../src/config.ts';
import { connectStores, openControlStores, openSharedStores, takeEarlierMail } from '../src/control/stores.ts';
import { placeOf, requireKeyspace, writeKeyspace } from '../src/node/keyspace.ts';
import { openSegmentsStores } from '../src/segments/stores.ts';
import type { ClusterSettings } from '../src/settings.ts';

// Nothing listens at the contact point: what is refused with E_CONFIG is refused before a connection.
let folder: string;
let cluster: ClusterSettings;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-keyspace-'));
  cluster = { contactPoints: [`127.0.0.1:${await closedPort()}`], localDataCenter: 'dc', keyspace: 'ours' };
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function closedPort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

const modules = { clock: systemClock, metrics: new MemoryMetrics(), logger: silentLogger };
/** As a control node opens its stores. */
const openControl = async (of: string, settings?: ClusterSettings) => {
  if (settings === undefined) return openControlStores(of);
  const place = { folder: of, directory: { nodes: [] } as unknown as Directory };
  const connections = await connectStores(place, settings, modules, () => undefined);
  return openSharedStores(of, { lease: { end: () => undefined }, connections }, modules);
};
const nodes = { control: openControl, segments: openSegmentsStores };
const dataOf = (file: string) => join(folder, nodeFiles.data, file);

describe.each(Object.entries(nodes))('a %s node', (_role, openStores) => {
  it('with state in its folder refuses a cluster, and keeps the state', async () => {
    const stores = await openStores(folder);
    await stores.records.collection('things', {}).compareAndSwap('a', undefined, Uint8Array.of(1));
    await stores.close();
    await expect(openStores(folder, cluster)).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringMatching(/remove cluster from node\.json .*`millrace migrate`, or move .*data away/),
    });
    const again = await openStores(folder);
    expect(await again.records.collection('things', {}).get('a')).toEqual(Uint8Array.of(1));
    await again.close();
  });

  it('whose state is in a keyspace refuses files and another keyspace, and makes no files', async () => {
    await writeKeyspace(folder, 'ours');
    await expect(openStores(folder)).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringMatching(/in keyspace ours .*put cluster back/),
    });
    await expect(openStores(folder, { ...cluster, keyspace: 'theirs' })).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringMatching(/in keyspace ours, .*names theirs/),
    });
    await expect(withRecords(folder, async () => undefined)).rejects.toMatchObject({ code: 'E_CONFIG' });
    await expect(access(dataOf('data.mdb'))).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(openStores(folder, cluster)).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
  });

  it('that never reached its cluster may still start on files', async () => {
    await expect(openStores(folder, cluster)).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
    await expect(access(join(folder, nodeFiles.keyspace))).rejects.toMatchObject({ code: 'ENOENT' });
    await (await openStores(folder)).close();
  });
});

it('keeps apart mail in Kafka, under each prefix, and mail elsewhere', async () => {
  const withKafka = (prefix: string) => ({ ...cluster, kafka: { brokers: ['127.0.0.1:1'], prefix } });
  await writeKeyspace(folder, placeOf(withKafka('ours')));
  for (const other of [cluster, withKafka('theirs')])
    await expect(openControl(folder, other)).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringMatching(/in keyspace ours \(mail: Kafka, ours\)/),
    });
  await expect(openControlStores(folder)).rejects.toMatchObject({ code: 'E_CONFIG' });
  await expect(openControl(folder, withKafka('ours'))).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
});

it('accepts the recorded keyspace although control keeps its mail in the folder, and refuses a damaged record', async () => {
  await (await openControlStores(folder)).close();
  await writeKeyspace(folder, 'ours');
  await requireKeyspace(folder, 'ours');
  expect(await readFile(join(folder, nodeFiles.keyspace), 'utf8')).toBe('ours\n');
  await writeFile(join(folder, nodeFiles.keyspace), '');
  await expect(requireKeyspace(folder, 'ours')).rejects.toMatchObject({ code: 'E_CONFIG' });
  await expect(openControlStores(folder)).rejects.toMatchObject({ code: 'E_CONFIG' });
});

it('takes mail into the cluster that an earlier version kept in the folder, and erases it there', async () => {
  const stores = await openControlStores(folder);
  await stores.queue.publish('keys-1', 'mail', 'm1', Uint8Array.of(1, 2, 3));
  await stores.close();
  const mail = new MemoryLog();
  await takeEarlierMail(join(folder, nodeFiles.data), mail);
  await expect(access(dataOf('data.mdb'))).rejects.toMatchObject({ code: 'ENOENT' });
  await takeEarlierMail(join(folder, nodeFiles.data), mail);
  const queue = await openLogQueue(mail, { clock: systemClock });
  const claimed = await queue.claim('keys-1', { consumer: 'c', limit: 10, leaseMs: 1_000 });
  expect(claimed.map(({ message }) => message)).toEqual([Uint8Array.of(1, 2, 3)]);
});
