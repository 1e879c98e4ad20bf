import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toHex } from '@millrace/base';
import { builtEntries, format, nodeFiles, nodeOptions } from '@millrace/cli/parts';
import { acceptReplica } from '@millrace/cloud/admin';
import { cassandraClient } from '@millrace/testkit/cassandra-client';
import { millrace } from '@millrace/testkit/cli';
import { noisyGcode } from '@millrace/testkit/designs';
import { type Engine, startEngine } from '@millrace/testkit/engines';
import { license, machineObject, objectOf, order, store, untilEnded, untilPrint } from '@millrace/testkit/job';
import { factorFor } from '@millrace/testkit/pace';
import { Managed } from '@millrace/testkit/process';
import {
  createTestInstallation,
  folderOf,
  processNames,
  type TestInstallation,
} from '@millrace/testkit/test-installation';
import { openSlots } from '@millrace/vault';
import { afterAll, beforeAll, expect, it } from 'vitest';

// Two replicas of the keys node, whose state is on one real Cassandra node. While a machine prints and cells are renewed,
// the active replica is killed, and then frozen for longer than its lease. Then a backup is made.

const design = noisyGcode(300_000);
const SECOND = 'keys-1-b';
let engine: Engine | string;
let system: TestInstallation | undefined;
let folder: string;
let second: Managed | undefined;
const takeovers: string[] = [];

beforeAll(async () => {
  engine = await startEngine('cassandra');
  if (typeof engine === 'string') console.log(engine);
  folder = await mkdtemp(join(tmpdir(), 'millrace-keys-replicas-'));
});
afterAll(async () => {
  await second?.kill();
  await system?.close();
  if (typeof engine === 'object') await engine.close();
  await rm(folder, { recursive: true, force: true });
  if (takeovers.length > 0) console.log(`takeovers: ${takeovers.join('; ')}`);
});

async function clusterOf({ host, port, ca, user, password }: Engine) {
  const [authority, passwordFile] = [join(folder, 'ca.pem'), join(folder, 'password')];
  await writeFile(authority, ca);
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  return {
    ...{ contactPoints: [`${host}:${port}`], localDataCenter: 'datacenter1', keyspace: 'millrace_keys', copies: 1 },
    ...{ login: { user, passwordFile }, tls: { authority } },
  };
}

interface Line {
  readonly msg: string;
  readonly epoch?: number;
  readonly replicas?: { readonly destroyedThrough: number; readonly owing: readonly string[] };
}

/** Lines of a log, parsed. */
async function linesOf({ logFile }: Managed): Promise<Line[]> {
  const text = await readFile(logFile, 'utf8').catch(() => '');
  return text.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line)] : []));
}

const countOf = async (node: Managed, msg: string) => (await linesOf(node)).filter((line) => line.msg === msg).length;

it('a kill and a freeze of the active replica stop neither prints nor sweeps', async ({ skip }) => {
  if (typeof engine === 'string') return skip(engine);
  const cluster = await clusterOf(engine);
  system = await createTestInstallation({
    machine: { factor: await factorFor(design, 25), giveUpMs: 300_000 },
    maintenance: { periodMs: 2_000, density: 50 },
    settings: { keys: { cluster } },
  });
  const { installation, processes, addresses } = system;
  const first = processes.keys;
  const firstFolder = folderOf(installation, 'keys');
  const secondFolder = join(folder, SECOND);
  await mkdir(secondFolder);

  const { installation: id, adminKey } = installation.directory;
  await writeFile(join(folder, 'cluster.json'), JSON.stringify(cluster));
  const create = ['node', 'create', '--role', 'keys', '--id', SECOND, '--replica-of', 'keys-1', '--json'];
  const common = ['--installation', id, '--admin-key', adminKey, '--cluster', join(folder, 'cluster.json')];
  const made = await millrace(secondFolder, ...create, ...common, '--out', join(folder, 'request'));
  expect(made.stderr).toBe('');
  const replicate = ['node', 'replicate', join(folder, 'request'), '--out', join(folder, 'grant'), '--json'];
  const wrong = await millrace(firstFolder, ...replicate, '--fingerprint', '00'.repeat(32));
  expect(wrong.code).toBe('E_AUTH');
  const enrolled = await millrace(firstFolder, ...replicate, '--fingerprint', String(made.json?.fingerprint));
  expect(enrolled.stderr).toBe('');
  await acceptReplica(secondFolder, JSON.parse(await readFile(join(folder, 'grant'), 'utf8')));
  const given = ['--control', format(addresses.control), '--distribution', format(addresses.distribution)];
  const args = ['--folder', secondFolder, ...given];
  second = new Managed({ name: SECOND, entry: builtEntries.node, args, ...nodeOptions }, join(folder, `${SECOND}.log`));
  await second.start();

  const states = async () => {
    const { json } = await millrace(firstFolder, 'node', 'replicas', '--json');
    const members = (json?.replicas ?? []) as { id: string; inSync: boolean }[];
    return Object.fromEntries(members.map((member) => [member.id, member.inSync]));
  };
  const bothInSync = () =>
    expect.poll(states, { timeout: 60_000, interval: 500 }).toEqual({ 'keys-1': true, [SECOND]: true });
  const isActive = (node: Managed, times: number) =>
    expect
      .poll(() => countOf(node, 'this keys process is active'), { timeout: 60_000, interval: 50 })
      .toBeGreaterThanOrEqual(times);
  await bothInSync();

  const owner = await system.session('owner');
  const operator = await system.session('operator');
  const stored = await store(system, owner, design);
  const licence = await license(system, owner, stored.design, 2);
  const print = async (disturb: () => Promise<void>) => {
    const ordered = await order(system as TestInstallation, operator, licence);
    const { progress } = await untilPrint(operator, ordered, ({ progress }) => (progress?.acked ?? 0) > 0);
    await disturb();
    const ended = await untilEnded(operator, ordered);
    expect(ended.state, JSON.stringify(progress)).toBe('completed');
    const { code, bytes } = await machineObject(system as TestInstallation, objectOf(ended));
    expect({ code, bytes }).toEqual({ code: undefined, bytes: design.length });
  };

  await print(async () => {
    const began = performance.now();
    await first.kill();
    await isActive(second as Managed, 1);
    takeovers.push(`killed ${((performance.now() - began) / 1_000).toFixed(1)} s`);
  });
  await first.start();
  await bothInSync();
  expect(await countOf(first, 'this keys process is on standby')).toBe(1);

  const { pid } = second;
  await print(async () => {
    const began = performance.now();
    second?.signal('SIGSTOP');
    await isActive(first, 2);
    takeovers.push(`frozen ${((performance.now() - began) / 1_000).toFixed(1)} s`);
    second?.signal('SIGCONT');
  });
  await bothInSync();
  expect(second.pid).toBe(pid);
  expect(await countOf(second, 'this keys process is no longer active')).toBe(1);
  await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });

  // Epochs were committed in order, and sweeps went on after each loss. A commit is durable with the next write of the
  // playbook: of a replica that is lost before it, the other one repeats the last commit, and no more. One that is lost
  // after it has not logged it.
  const commitsOf = async (node: Managed) =>
    (await linesOf(node)).filter(({ msg }) => msg === 'sweep complete').map(({ epoch }) => Number(epoch));
  const each = [await commitsOf(first), await commitsOf(second)];
  for (const commits of each) expect(commits).toEqual([...new Set(commits)].sort((a, b) => a - b));
  const all = each.flat().sort((a, b) => a - b);
  const epochs = [...new Set(all)];
  const unlogged = (epochs.at(-1) ?? 0) - 1 - epochs.length;
  expect(unlogged).toBeLessThanOrEqual(takeovers.length);
  expect(epochs.length).toBeGreaterThan(5);
  expect(all.length - epochs.length).toBeLessThanOrEqual(takeovers.length);
  expect((await millrace(system.home, 'vault', 'check', '--deep')).stderr).toBe('');

  // Both have the same keys: what is destroyed at one is destroyed at the other.
  const keysIn = (of: string) =>
    Promise.all(['epoch.keys', 'design.keys'].map((file) => slotsIn(join(of, nodeFiles.data, file))));
  const areEqual = async () => JSON.stringify(await keysIn(firstFolder)) === JSON.stringify(await keysIn(secondFolder));
  await expect.poll(areEqual, { timeout: 30_000 }).toBe(true);
  const destroyed = async () => {
    const ended = (await linesOf(first)).filter(({ msg }) => msg === 'sweep complete').at(-1);
    return { ...ended?.replicas, of: ended?.epoch };
  };
  const { of = 0 } = await destroyed();
  await expect.poll(destroyed, { timeout: 60_000 }).toMatchObject({ owing: [] });
  await expect
    .poll(async () => (await destroyed()).destroyedThrough, { timeout: 60_000 })
    .toBeGreaterThanOrEqual(of - 1);

  // The keyspace holds no slot of either replica. (What is looked for is found where it is: who the replicas are.)
  await Promise.all([first, second].map((node) => node?.kill()));
  const keyspace = await contentOf(engine);
  expect(keyspace).toContain(Buffer.from(SECOND).toString('hex'));
  const slots = [firstFolder, secondFolder].map(keysIn);
  const contents = (await Promise.all(slots)).flat(2).flatMap((line) => line.split(' ').slice(1));
  expect(contents.length).toBeGreaterThan(3);
  for (const content of contents) expect(keyspace.includes(content)).toBe(false);

  // A backup is made while all replicas are stopped; the other one takes over what it has changed.
  await Promise.all(processNames.map((name) => processes[name].kill()));
  const backup = await millrace(system.home, 'backup', 'create', join(folder, 'backup'));
  expect(backup.stderr).toBe('');
  expect(await areEqual()).toBe(false);
  for (const name of processNames) await processes[name].start();
  await second.start();
  await bothInSync();
  await expect.poll(areEqual, { timeout: 60_000 }).toBe(true);
  expect((await millrace(system.home, 'vault', 'check', '--deep')).stderr).toBe('');
}, 300_000);

/** Every value in the keyspace of the keys node, hexadecimal. */
async function contentOf(engine: Engine): Promise<string> {
  const client = cassandraClient(engine, [engine]);
  try {
    const named = 'SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?';
    const values: string[] = [];
    for (const { table_name: table } of (await client.execute(named, ['millrace_keys'])).rows)
      for await (const row of await client.execute(`SELECT * FROM millrace_keys.${table}`))
        for (const value of row.values())
          values.push(Buffer.isBuffer(value) ? value.toString('hex') : Buffer.from(String(value)).toString('hex'));
    return values.join(' ');
  } finally {
    await client.shutdown();
  }
}

async function slotsIn(path: string): Promise<string[]> {
  const slots = await openSlots(path);
  const found: string[] = [];
  for (let slot = 0; slot < (await slots.count()); slot++) {
    const content = await slots.read(slot);
    if (content !== undefined) found.push(`${slot} ${toHex(content)}`);
  }
  await slots.close();
  return found;
}
