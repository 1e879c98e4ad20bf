import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Closer, createLogger, MemoryMetrics, MillraceError, systemClock, toHex } from '@millrace/base';
import { nodeFiles } from '@millrace/cli/parts';
import { isInSync, loadNodeConfig, openGroup, openStatements, runKeysReplica, sealState } from '@millrace/cloud/parts';
import { type Collection, type Log, MemoryLog, MemoryRecords, type RecordStore } from '@millrace/stores';
import { noisyGcode } from '@millrace/testkit/designs';
import { license, machineObject, objectOf, order, store, untilEnded, untilPrint } from '@millrace/testkit/job';
import { factorFor } from '@millrace/testkit/pace';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { openSlots } from '@millrace/vault';
import { afterAll, beforeAll, expect, it } from 'vitest';

// Two replicas of the keys node in this process, with their folders, on a keyspace in memory; the other nodes and the
// machine are processes. The active replica is cut off from the keyspace while the machine prints, and comes back.

const design = noisyGcode(200_000);
const ids = ['keys-1', 'keys-1-b'] as const;
type Id = (typeof ids)[number];
const closer = new Closer();
let system: TestInstallation;
let folders: Record<Id, string>;
/** Replicas that are cut off from the keyspace. */
const cut = new Set<Id>();
const lines: { readonly node: string; readonly msg: string; readonly epoch?: number }[] = [];

const keyspace = { records: new Map<string, MemoryRecords>(), logs: new Map<string, MemoryLog>() };
const named = <T>(all: Map<string, T>, name: string, make: () => T): T => {
  const found = all.get(name) ?? make();
  all.set(name, found);
  return found;
};

/** The keyspace as a replica uses it. @param check as the guard of Cassandra */
function engineOf(id: Id, check: () => void = () => undefined) {
  const guarded = <A extends unknown[], R>(call: (...given: A) => Promise<R>) => {
    return async (...given: A): Promise<R> => {
      if (cut.has(id)) throw new MillraceError('E_UNAVAILABLE', 'cut off');
      check();
      return call(...given);
    };
  };
  const records = (name: string): RecordStore => {
    const all = named(keyspace.records, name, () => new MemoryRecords());
    const collection: RecordStore['collection'] = (of, options) => {
      const inner = all.collection(of, options);
      return {
        get: guarded((key) => inner.get(key)),
        put: guarded((key, value) => inner.put(key, value)),
        delete: guarded((key) => inner.delete(key)),
        compareAndSwap: guarded((key, before, after) => inner.compareAndSwap(key, before, after)),
        page: guarded((options) => inner.page(options)),
      } satisfies Collection;
    };
    return { collection, collections: () => all.collections(), close: async () => undefined };
  };
  const log = (name: string): Log => {
    const inner = named(keyspace.logs, name, () => new MemoryLog());
    return {
      get: guarded((key) => inner.get(key)),
      getMany: guarded((keys) => inner.getMany(keys)),
      range: (range) => inner.range(range),
      acquire: guarded(async () => {
        const writer = await inner.acquire();
        return { token: writer.token, append: guarded((writes) => writer.append(writes)) };
      }),
      close: async () => undefined,
    };
  };
  return { records, log, close: async () => undefined };
}

async function run(id: Id): Promise<void> {
  const config = await loadNodeConfig(folders[id]);
  const logger = createLogger('keys', { destination: { write: (line: string) => void lines.push(JSON.parse(line)) } });
  closer.add(
    await runKeysReplica(
      {
        ...{ config, addresses: system.addresses, takeoverMs: 3_000 },
        openLeases: async () => engineOf(id),
        openState: async (wrapper, check) => {
          const engine = engineOf(id, check);
          return { ...(await sealState(engine, wrapper)), engine };
        },
      },
      { logger, clock: systemClock, metrics: new MemoryMetrics() },
    ),
  );
}

beforeAll(async () => {
  system = await createTestInstallation({
    start: ['control', 'distribution', 'segments', 'machine'],
    machine: { factor: await factorFor(design, 8), giveUpMs: 120_000 },
    maintenance: { periodMs: 1_000, density: 50 },
  });
  const scratch = await mkdtemp(join(tmpdir(), 'millrace-keys-replicas-'));
  closer.add({ close: () => rm(scratch, { recursive: true, force: true }) });
  folders = { 'keys-1': system.installation.layout.node('keys'), 'keys-1-b': join(scratch, 'keys-1-b') };
  await cp(folders['keys-1'], folders['keys-1-b'], { recursive: true });
  await mkdir(join(folders['keys-1-b'], nodeFiles.data), { recursive: true });
  const settings = join(folders['keys-1-b'], nodeFiles.settings);
  await writeFile(
    settings,
    JSON.stringify({ ...JSON.parse(await readFile(settings, 'utf8')), replica: 'keys-1-b' satisfies Id }),
  );
}, 120_000);
afterAll(async () => {
  await closer.close();
  await system?.close();
});

const groupOf = async (id: Id) => {
  const folder = folders[id];
  const { installation } = system.installation.directory;
  const statements = await openStatements(folder, { installation, node: 'keys-1' });
  return openGroup({ statements }, { folder }, engineOf(id));
};
const inSync = (id: Id) =>
  expect.poll(async () => isInSync(await (await groupOf(id)).read(), id), { timeout: 60_000 }).toBe(true);
const active = (id: Id) =>
  expect
    .poll(() => lines.filter(({ node, msg }) => node === id && msg === 'this keys process is active').length, {
      timeout: 60_000,
    })
    .toBeGreaterThan(0);

async function keysIn(id: Id): Promise<string> {
  const found: string[] = [];
  for (const file of ['epoch.keys', 'design.keys']) {
    const slots = await openSlots(join(folders[id], nodeFiles.data, file));
    for (let slot = 0; slot < (await slots.count()); slot++) {
      const content = await slots.read(slot);
      if (content !== undefined) found.push(`${file} ${slot} ${toHex(content)}`);
    }
    await slots.close();
  }
  return found.join('\n');
}

it('refuses a replica that is not enrolled, and one whose keyspace is another', async () => {
  await expect(run('keys-1-b')).rejects.toMatchObject({ code: 'E_CONFIG' });
  await run('keys-1');
  await active('keys-1');
  await expect(run('keys-1-b')).rejects.toMatchObject({ code: 'E_STATE' });
});

it('prints and sweeps go on at the other replica, and nothing is re-keyed twice', async () => {
  const group = await groupOf('keys-1');
  await group.change(({ members, ...rest }) => ({ ...rest, members: [...members, { id: 'keys-1-b', inSync: false }] }));
  await run('keys-1-b');
  await inSync('keys-1-b');
  const owner = await system.session('owner');
  const operator = await system.session('operator');
  const { design: id } = await store(system, owner, design);
  const licence = await license(system, owner, id, 1);
  const print = await order(system, operator, licence);
  await untilPrint(operator, print, ({ progress }) => (progress?.acked ?? 0) > 0);

  cut.add('keys-1');
  await active('keys-1-b');
  cut.delete('keys-1');
  const ended = await untilEnded(operator, print);
  expect(ended.state).toBe('completed');
  const { code, bytes } = await machineObject(system, objectOf(ended));
  expect({ code, bytes }).toEqual({ code: undefined, bytes: design.length });
  await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });

  // The one that was cut off has found out, has become a standby, and has what the other one has.
  await inSync('keys-1');
  expect(lines.filter(({ node, msg }) => node === 'keys-1' && /is no longer active$/.test(msg))).toHaveLength(1);
  await expect
    .poll(async () => (await keysIn('keys-1')) === (await keysIn('keys-1-b')), { timeout: 30_000 })
    .toBe(true);
  expect(await keysIn('keys-1')).toMatch(/^epoch\.keys/m);
  const commits = lines.filter(({ msg }) => msg === 'sweep complete').map(({ epoch }) => epoch);
  expect(commits.length).toBeGreaterThan(3);
  expect(new Set(commits).size).toBe(commits.length);
}, 120_000);
