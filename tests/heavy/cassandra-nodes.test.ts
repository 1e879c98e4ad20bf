import { systemRandom, utf8 } from '@millrace/base';
import { openCassandra } from '@millrace/cluster';
import { cassandraClient } from '@millrace/testkit/cassandra-client';
import { type EngineCluster, startEngines } from '@millrace/testkit/engines';
import { afterAll, beforeAll, expect, it } from 'vitest';

// Three real Cassandra nodes with TLS and logins, of which one is lost.

let engine: EngineCluster | string;
beforeAll(async () => {
  engine = await startEngines('cassandra', 3, { settings: { CASS_PARALLEL: '1' } });
  if (typeof engine === 'string') console.log(engine);
}, 300_000);
afterAll(async () => {
  if (typeof engine === 'object') await engine.close();
}, 60_000);

/** @param servers which ones are named to the driver */
const optionsOf = ({ user, password, ca }: EngineCluster, servers: EngineCluster['servers'], keyspace: string) => ({
  contactPoints: servers.map(({ host, port }) => `${host}:${port}`),
  ...{ localDataCenter: 'datacenter1', keyspace, login: { user, password }, tls: { ca } },
});

it.for(['killed', 'frozen'])(
  'a server that is %s delays no epoch, and no node that starts',
  { timeout: 240_000 },
  async (how, { skip }) => {
    if (typeof engine === 'string') return skip(engine);
    const { servers } = engine;
    const [lost, ...others] = [...servers].reverse();
    if (lost === undefined) throw new Error('there is no server');
    const own = optionsOf(engine, servers, `lost_${how}`);
    const cassandra = await openCassandra(own);
    const cells = cassandra.cells('cells');
    const cell = (epoch: number) => ({ index: systemRandom(32), epoch, body: utf8(`epoch ${epoch}`) });
    const first = cell(1);
    await cells.create(1);
    await cells.put([first]);
    const plain = cassandraClient(engine, others, own.keyspace);
    await plain.connect();

    if (how === 'killed') await lost.kill();
    else lost.freeze();
    try {
      // Meanwhile the connections to the lost server are left, and the others have a schema that it has not.
      await cells.create(2);
      // The driver waits 10 s for the lost server's version of the schema, at each change.
      const faster = await Promise.race([
        cells.create(3).then(() => 'the store'),
        plain.execute('CREATE TABLE plain (id int PRIMARY KEY)').then(() => 'the driver'),
      ]);
      expect(faster).toBe('the store');
      const last = cell(3);
      await cells.put([last]);
      await cells.drop(1);

      const again = await openCassandra(own);
      expect((await again.cells('cells').get(last.index))?.body).toEqual(last.body);
      expect(await again.cells('cells').get(first.index)).toBeUndefined();
      await again.close();
    } finally {
      if (how === 'killed') await lost.start();
      else lost.resume();
      await plain.shutdown();
      await cassandra.close();
    }
  },
);

it('a connection goes on at other servers, whichever is lost, at statements that it has not sent before', {
  timeout: 400_000,
}, async ({ skip }) => {
  if (typeof engine === 'string') return skip(engine);
  const { servers } = engine;
  const own = optionsOf(engine, servers, 'any');
  for (const [i, lost] of servers.entries()) {
    const cassandra = await openCassandra(own);
    lost.freeze();
    try {
      const table = cassandra.records('records').collection('things');
      expect(await table.compareAndSwap(`${i}`, undefined, utf8('first'))).toBe('applied');
      await table.put(`${i}`, utf8('second'));
      expect(await table.get(`${i}`)).toEqual(utf8('second'));
      await cassandra.cells('cells').create(i + 1);
    } finally {
      lost.resume();
      await cassandra.close();
    }
  }
});

it('two nodes that make an epoch at once, at different servers, make one table', { timeout: 240_000 }, async ({
  skip,
}) => {
  if (typeof engine === 'string') return skip(engine);
  const own = optionsOf(engine, engine.servers, 'once');
  const opened = await Promise.all([openCassandra(own), openCassandra(own), openCassandra(own)]);
  const stores = opened.map((cassandra) => cassandra.cells('cells'));
  for (let epoch = 1; epoch <= 12; epoch++) {
    const cells = stores.map((_, i) => ({ index: systemRandom(32), epoch, body: utf8(`${epoch} of ${i}`) }));
    await Promise.all(
      stores.map(async (store, i) => {
        await store.create(epoch);
        await store.put(cells.slice(i, i + 1));
      }),
    );
    for (const store of stores)
      for (const { index, body } of cells) expect((await store.get(index))?.body, `epoch ${epoch}`).toEqual(body);
  }
  for (const cassandra of opened) await cassandra.close();
});

it('nodes that start for the first time at once, at different servers, share one schema', {
  timeout: 400_000,
}, async ({ skip }) => {
  if (typeof engine === 'string') return skip(engine);
  const cluster = engine;
  for (let round = 0; round < 6; round++) {
    const opened = await Promise.all(
      cluster.servers.map((server) => openCassandra(optionsOf(cluster, [server], `first_${round}`))),
    );
    const tables = opened.map((cassandra) => cassandra.records('records').collection('things'));
    await Promise.all(tables.map((table, i) => table.put(`${i}`, utf8(`of ${i}`))));
    for (const table of tables)
      for (const i of tables.keys()) expect(await table.get(`${i}`), `round ${round}`).toEqual(utf8(`of ${i}`));
    for (const cassandra of opened) await cassandra.close();
  }
});
