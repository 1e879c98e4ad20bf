import { randomBytes } from 'node:crypto';
import { rootCertificates } from 'node:tls';
import { MemoryMetrics, MillraceError, sleep, systemRandom, u64be, utf8 } from '@millrace/base';
import { type Cassandra, openCassandra } from '@millrace/cluster';
import { cellsCases, logCases, recordsCases } from '@millrace/stores/compliance';
import { cassandraClient } from '@millrace/testkit/cassandra-client';
import { type Engine, startEngine } from '@millrace/testkit/engines';
import { CellStore, InProcessEngine, MAINTAIN, Packed, SEGMENT_BYTES } from '@millrace/vault';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// One real Cassandra node with TLS and logins. Every case has a keyspace of its own.

let engine: Engine | string;
beforeAll(async () => {
  engine = await startEngine('cassandra');
  if (typeof engine === 'string') console.log(engine);
});
afterAll(async () => {
  if (typeof engine === 'object') await engine.close();
});

const keyspace = `t${randomBytes(6).toString('hex')}`;
const options = ({ host, port, user, password, ca }: Engine) => ({
  contactPoints: [`${host}:${port}`],
  localDataCenter: 'datacenter1',
  keyspace,
  copies: 1,
  login: { user, password },
  tls: { ca },
});

/** A test that needs the engine. */
function needs(name: string, test: (engine: Engine) => Promise<void>): void {
  it(name, async ({ skip }) => (typeof engine === 'string' ? skip(engine) : test(engine)));
}

let stores = 0;
const metrics = new MemoryMetrics();

let shared: Promise<Cassandra> | undefined;
afterAll(async () => (await shared?.catch(() => undefined))?.close());

/** A port on a store of its own, in the form that the compliance suites take. */
function open<Name extends string, Port>(name: Name, port: (cassandra: Cassandra, store: string) => Port) {
  return async () => {
    if (typeof engine === 'string') throw new Error(engine);
    const own = options(engine);
    const store = `s${stores++}`;
    shared ??= openCassandra(own, { metrics });
    const again: Cassandra[] = [];
    return {
      ...({ [name]: port(await shared, store) } as Record<Name, Port>),
      async reopen() {
        const cassandra = await openCassandra(own);
        again.push(cassandra);
        return port(cassandra, store);
      },
      async dispose() {
        for (const cassandra of again) await cassandra.close();
      },
    };
  };
}

describe('records in Cassandra', () => {
  const records = open('records', (cassandra, store) => cassandra.records(store));
  for (const { name, run } of recordsCases) needs(name, () => run(records));
});

describe('a log in Cassandra', () => {
  const log = open('log', (cassandra, store) => cassandra.log(store));
  for (const { name, run } of logCases) needs(name, () => run(log));
});

describe('cells in Cassandra', () => {
  const cells = open('cells', (cassandra, store) => cassandra.cells(store));
  for (const { name, run } of cellsCases) needs(name, () => run(cells));
});

describe('Cassandra in hostile hands', () => {
  needs('is not used under a false name, with a foreign certificate or with a wrong password', async (engine) => {
    const own = options(engine);
    for (const wrong of [
      { tls: { ca: engine.ca, serverName: 'elsewhere.example' } },
      { tls: { ca: rootCertificates[0] ?? '' } },
      { login: { user: engine.user, password: 'wrong' } },
    ])
      await expect(openCassandra({ ...own, ...wrong })).rejects.toMatchObject({ code: 'E_CONFIG' });
  });

  needs('its requests are measured', async () => {
    await shared;
    const samples = () => metrics.samples().filter(({ name }) => name === 'millrace_cassandra_seconds');
    expect(
      samples()
        .map(({ labels }) => labels.level)
        .sort(),
    ).toEqual(['quorum', 'serial']);
    for (const { value, count } of samples()) expect([value > 0, count > 100]).toEqual([true, true]);
    expect(metrics.value('millrace_cassandra_waiting')).toBe(0);
  });

  needs('a cell that a step of a sweep moves costs seven requests, however many epochs there are', async (engine) => {
    const own = new MemoryMetrics();
    const cassandra = await openCassandra(options(engine), { metrics: own });
    try {
      const store = cassandra.cells('requests');
      const cells = new CellStore(new InProcessEngine(store));
      const move = () => ({
        ...{ oldIndex: systemRandom(20), newIndex: systemRandom(20), flags: 0 },
        ...{ oldKey: systemRandom(32), newKey: systemRandom(32) },
      });
      const [first, second] = [Array.from({ length: 64 }, move), Array.from({ length: 64 }, move)];
      const all = [...first, ...second];
      // Epoch 1 is not there, so that the first step drops no table beside the second one.
      for (const epoch of [2, 3, 4]) await store.create(epoch);
      const body = new Uint8Array(SEGMENT_BYTES);
      await store.put(all.map(({ oldIndex: index }) => ({ index, epoch: 2, body })));
      const step = (number: number, items: typeof all, left: typeof all) =>
        cells.maintain({
          ...{ type: 'maintain', to: 3, lane: 0, number, fence: 0 },
          items: Packed.of(MAINTAIN.items, items),
          masked: Packed.of(MAINTAIN.masked, []),
          points: Packed.of(MAINTAIN.points, []),
          forget: Packed.of(
            MAINTAIN.forget,
            left.map(({ oldIndex: index }) => ({ index })),
          ),
        });
      expect(await step(1, first, [])).toMatchObject({ staged: 64, missing: [], damaged: [] });
      const requests = () =>
        own
          .samples()
          .filter(({ name }) => name === 'millrace_cassandra_seconds')
          .reduce((sum, { count }) => sum + count, 0);
      const before = requests();
      expect(await step(2, second, first)).toMatchObject({ staged: 64, missing: [], damaged: [] });
      expect((requests() - before) / 64).toBeLessThanOrEqual(7);
      const old = await store.heads(all.map(({ oldIndex }) => oldIndex));
      expect(old.map((head) => head?.epoch)).toEqual([...first.map(() => undefined), ...second.map(() => 2)]);
      expect((await store.heads(all.map(({ newIndex }) => newIndex))).map((head) => head?.epoch)).toEqual(
        all.map(() => 3),
      );
    } finally {
      await cassandra.close();
    }
  });

  needs('a process that did not notice a takeover writes neither to the log nor to a dropped epoch', async (engine) => {
    const [mine, theirs] = [await openCassandra(options(engine)), await openCassandra(options(engine))];
    try {
      const old = await mine.log('takeover').acquire();
      await old.append([{ put: utf8('a'), value: utf8('1') }]);
      const next = await theirs.log('takeover').acquire();
      await next.append([{ put: utf8('b'), value: utf8('2') }]);
      for (const writes of [[{ put: utf8('a'), value: utf8('late') }], []])
        await expect(old.append(writes)).rejects.toMatchObject({ code: 'E_FENCED' });
      expect(await theirs.log('takeover').get(utf8('a'))).toEqual(utf8('1'));

      const [late, dropper] = [mine.cells('takeover'), theirs.cells('takeover')];
      const cell = { index: utf8('index'), epoch: 4, body: new Uint8Array(16_386).fill(1) };
      await late.create(4);
      await late.put([cell]);
      await dropper.create(5);
      await dropper.drop(4);
      await late.put([cell]);
      // The table is dropped soon.
      await expect.poll(() => late.get(cell.index)).toBeUndefined();
      await late.put([cell]);
      expect(await late.get(cell.index)).toBeUndefined();
      await late.create(4);
      await expect(late.put([{ ...cell, epoch: 6 }])).rejects.toMatchObject({ code: 'E_STATE' });
      expect(await dropper.get(cell.index)).toBeUndefined();
    } finally {
      await mine.close();
      await theirs.close();
    }
  });

  needs('the next call tells that a table could not be dropped, and drops it', async (engine) => {
    let requests = Number.POSITIVE_INFINITY;
    const guard = () => {
      if (requests-- <= 0) throw new MillraceError('E_FENCED', 'no request any more');
    };
    const [mine, theirs] = [await openCassandra({ ...options(engine), guard }), await openCassandra(options(engine))];
    try {
      const [dropper, other] = [mine.cells('drops'), theirs.cells('drops')];
      const cell = { index: utf8('index'), epoch: 4, body: new Uint8Array(16_386).fill(1) };
      await dropper.create(4);
      await dropper.put([cell]);
      await dropper.create(5);
      expect(await other.get(cell.index)).toBeDefined();
      requests = 3; // one that notes what is dropped, two that look what there is; none that drops a table
      await dropper.drop(4);
      expect(await other.get(cell.index)).toBeDefined();
      requests = 0;
      await expect(dropper.drop(4)).rejects.toMatchObject({ code: 'E_FENCED' });
      requests = Number.POSITIVE_INFINITY;
      expect(await dropper.get(cell.index)).toBeUndefined();
      await dropper.drop(4);
      expect(await other.get(cell.index)).toBeUndefined();
    } finally {
      await mine.close();
      await theirs.close();
    }
  });

  needs('a table that a server was killed while making is made again', async (engine) => {
    const cell = { index: utf8('index'), epoch: 2, body: new Uint8Array(16_386).fill(1) };
    const first = await openCassandra(options(engine));
    try {
      await first.cells('killed').create(1);
      await engine.kill();
      // The list of tables stays in the commit log, as if the server was killed before it wrote it out.
      await engine.start({ CASS_OPTIONS: '-Dcassandra.test.flush_local_schema_changes=false' });
      await first.cells('killed').create(2);
      await engine.kill();
      await engine.start();
    } finally {
      await first.close();
    }
    const again = await openCassandra(options(engine));
    const client = cassandraClient(engine, [engine]);
    try {
      // The server lists the table, and does not have it.
      const listed = `SELECT id FROM system_schema.tables WHERE keyspace_name = '${keyspace}' AND table_name = ?`;
      const { rows } = await client.execute(listed, ['cells_killed_2'], { prepare: true });
      expect(rows.length).toBe(1);
      await expect(client.execute(`SELECT idx FROM ${keyspace}.cells_killed_2`)).rejects.toThrow(
        /does not exist|unconf/,
      );
      const cells = again.cells('killed');
      await cells.create(2);
      await cells.put([cell]);
      expect((await cells.get(cell.index))?.epoch).toBe(2);
      const now = await client.execute(listed, ['cells_killed_2'], { prepare: true });
      expect(String(now.rows[0]?.id)).toBe(String(rows[0]?.id));
    } finally {
      await client.shutdown();
      await again.close();
    }
  });

  needs('damaged rows get an error with a code, and can be replaced', async (engine) => {
    const own = options(engine);
    const cassandra = await openCassandra(own);
    const raw = cassandraClient(engine, [engine], keyspace);
    try {
      const records = cassandra.records('damage').collection('c');
      await records.put('k', utf8('before'));
      for (const claims of [null, Buffer.alloc(3), Buffer.alloc(160)]) {
        const change = "UPDATE records SET claims = ?, version = null WHERE collection = 'damage/c' AND key = ?";
        await raw.execute(change, [claims, Buffer.from('k')], { prepare: true });
        expect(await records.get('k')).toBeDefined();
        await records.put('k', utf8(`after ${claims?.length}`));
        expect(await records.get('k')).toEqual(utf8(`after ${claims?.length}`));
      }
      const writer = await cassandra.log('damage').acquire();
      await writer.append([{ put: utf8('a'), value: utf8('1') }]);
      const journal = "INSERT INTO log_journal (log, writer, seq, chunk, writes) VALUES ('damage', 1, 1, 0, ?)";
      await raw.execute(journal, [Buffer.from('not CBOR')], { prepare: true });
      await expect(cassandra.log('damage').acquire()).rejects.toMatchObject({ code: 'E_STORE' });
    } finally {
      await raw.shutdown();
      await cassandra.close();
    }
  });

  needs(
    'frozen and killed in the middle of writes, it counts every decision once and keeps what it said',
    async (engine) => {
      const own = { ...options(engine), patienceMs: 120_000, requestMs: 3_000 };
      const sessions = [await openCassandra(own), await openCassandra(own)];
      let writing = true;
      let applied = 0;
      let unknown = 0;
      const kept: number[] = [];
      const count = async (cassandra: Cassandra, worker: number): Promise<void> => {
        const counters = cassandra.records('crash').collection('counter');
        while (writing) {
          const current = await counters.get('n');
          const next = Uint8Array.of(...u64be(BigInt(Number(numberOf(current)) + 1)), worker);
          const swap = await counters.compareAndSwap('n', current, next);
          if (swap === 'applied') applied++;
          if (swap === 'unknown') unknown++;
        }
      };
      const log = async (cassandra: Cassandra): Promise<void> => {
        const writer = await cassandra.log('crash').acquire();
        for (let n = 0; writing; n++) {
          const writes = [0, 1, 2].map((i) => ({ put: utf8(`entry ${n} ${i}`), value: utf8(String(n)) }));
          await writer.append(writes);
          kept.push(n);
        }
      };
      const [first, second] = sessions as [Cassandra, Cassandra];
      const workers = [count(first, 1), count(first, 2), count(second, 3), log(second)];
      const until = async (more: number) => {
        const [swaps, entries] = [applied, kept.length];
        while (applied < swaps + more || kept.length < entries + more) await sleep(20);
      };
      await until(20);
      engine.freeze();
      await sleep(5_000); // longer than a request: the answers are lost
      engine.resume();
      await until(20);
      await engine.kill();
      await engine.start();
      await until(20);
      writing = false;
      await Promise.all(workers);
      const counted = Number(numberOf(await first.records('crash').collection('counter').get('n')));
      expect(counted).toBeGreaterThanOrEqual(applied);
      expect(counted).toBeLessThanOrEqual(applied + unknown);
      for (const n of kept)
        for (const i of [0, 1, 2])
          expect(await first.log('crash').get(utf8(`entry ${n} ${i}`))).toEqual(utf8(String(n)));
      console.log(`${applied} swaps applied, ${unknown} unknown, ${kept.length} batches`);
      for (const session of sessions) await session.close();
    },
  );

  needs('is refused if it would keep dropped epochs', async (engine) => {
    await engine.kill();
    await engine.start({ CASS_AUTO_SNAPSHOT: 'true' });
    await expect(openCassandra(options(engine))).rejects.toThrow(/auto_snapshot is on/);
  });
});

const numberOf = (value: Uint8Array | undefined): bigint => (value ? Buffer.from(value).readBigUInt64BE() : 0n);
