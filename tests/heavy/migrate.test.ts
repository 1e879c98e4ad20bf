import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeFiles } from '@millrace/cli/parts';
import { cassandraClient } from '@millrace/testkit/cassandra-client';
import { millrace, program } from '@millrace/testkit/cli';
import { noisyGcode } from '@millrace/testkit/designs';
import { type Engine, startEngine } from '@millrace/testkit/engines';
import { license, order, store, untilEnded, untilPrint } from '@millrace/testkit/job';
import { factorFor } from '@millrace/testkit/pace';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import kafkajs from 'kafkajs';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';

// The state of control, segments and keys moves from files to a real Cassandra node, the mail to a real Kafka broker, and
// back while a machine prints.

const design = noisyGcode(300_000);
const roles = ['segments', 'keys', 'control'] as const;
type Role = (typeof roles)[number];

let engine: Engine | string;
let kafka: Engine | string;
let folder: string;
let system: TestInstallation | undefined;
beforeAll(async () => {
  engine = await startEngine('cassandra');
  kafka = typeof engine === 'string' ? engine : await startEngine('kafka');
  for (const each of new Set([engine, kafka])) if (typeof each === 'string') console.log(each);
  folder = await mkdtemp(join(tmpdir(), 'millrace-migrate-'));
});
afterAll(async () => {
  await system?.close();
  for (const each of [engine, kafka]) if (typeof each === 'object') await each.close();
  await rm(folder, { recursive: true, force: true });
});

const keyspaceOf = (role: Role) => `moved_${role}`;

async function accessTo({ host, port, ca, user, password }: Engine, name: string) {
  const [authority, passwordFile] = [join(folder, `${name}.pem`), join(folder, `${name}.password`)];
  await writeFile(authority, ca);
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  return { at: [`${host}:${port}`], access: { login: { user, passwordFile }, tls: { authority } } };
}

/** @returns the file for --cluster */
async function clusterFile(role: Role): Promise<string> {
  const { at, access } = await accessTo(engine as Engine, 'cassandra');
  const mail = role === 'control' ? await accessTo(kafka as Engine, 'kafka') : undefined;
  const path = join(folder, `${role}.json`);
  const cluster = {
    ...{ contactPoints: at, localDataCenter: 'datacenter1', keyspace: keyspaceOf(role), copies: 1, ...access },
    ...(mail && { kafka: { brokers: mail.at, prefix: 'moved', copies: 1, ...mail.access } }),
  };
  await writeFile(path, JSON.stringify(cluster));
  return path;
}

async function tablesOf(engine: Engine, role: Role): Promise<string[]> {
  const client = cassandraClient(engine, [engine]);
  try {
    const statement = 'SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?';
    const { rows } = await client.execute(statement, [keyspaceOf(role)]);
    return rows.map((row) => String(row.table_name));
  } finally {
    await client.shutdown();
  }
}

async function mailTopics(): Promise<string[]> {
  const { host, port, ca, user, password } = kafka as Engine;
  const sasl = { mechanism: 'scram-sha-512', username: user, password } as const;
  const admin = new kafkajs.Kafka({ brokers: [`${host}:${port}`], ssl: { ca }, sasl }).admin();
  try {
    await admin.connect();
    return (await admin.listTopics()).filter((topic) => topic.startsWith('moved.'));
  } finally {
    await admin.disconnect();
  }
}

it('control, segments and keys move to Cassandra and back in mid-print, through a kill of the command', async ({
  skip,
}) => {
  if (typeof engine === 'string') return skip(engine);
  if (typeof kafka === 'string') return skip(kafka);
  system = await createTestInstallation({
    machine: { factor: await factorFor(design, 40), giveUpMs: 300_000 },
    maintenance: { periodMs: 3_000, density: 50 },
  });
  const { home, processes, installation } = system;
  const owner = await system.session('owner');
  const operator = await system.session('operator');
  const stored = await store(system, owner, design);
  const licence = await license(system, owner, stored.design, 1);
  const print = await order(system, operator, licence);
  const printing = (acked: number) => untilPrint(operator, print, ({ progress }) => (progress?.acked ?? 0) > acked);
  await printing(0);

  const refused = await millrace(
    home,
    'migrate',
    'segments',
    '--to',
    'cluster',
    '--cluster',
    await clusterFile('segments'),
  );
  expect(refused.code).toBe('E_CONFLICT'); // it runs

  for (const role of roles) {
    const own = folderOf(installation, role);
    const args = ['migrate', role, '--to', 'cluster', '--cluster', await clusterFile(role), '--json'];
    await processes[role].stop();
    if (role === 'segments') {
      const child = spawn(process.execPath, [program, ...args, '--home', home], { stdio: 'ignore' });
      const ended = once(child, 'exit');
      await vi.waitFor(() => access(join(own, nodeFiles.migration)), { timeout: 60_000, interval: 5 });
      child.kill('SIGKILL');
      await ended;
      await expect(processes.segments.start()).rejects.toThrow(/ended/);
      expect(await system.log('segments')).toContain('run `millrace migrate` again');
    }
    const moved = await millrace(home, ...args);
    expect(moved.stderr).toBe('');
    expect(moved.json?.moved).toMatchObject({ records: { count: expect.any(Number) } });
    if (role === 'control') expect(moved.json?.moved).toMatchObject({ messages: { count: expect.any(Number) } });
    await processes[role].start();
  }
  expect(await mailTopics()).toContain('moved.keys-1');
  expect(await readdir(join(folderOf(installation, 'segments'), nodeFiles.data))).not.toContain(nodeFiles.cells);
  expect(await tablesOf(engine, 'segments')).toContainEqual(expect.stringMatching(/^cells_/));
  expect(await readdir(join(folderOf(installation, 'keys'), nodeFiles.data))).not.toContain('data.mdb');
  const { progress } = await operator.api.print(print);
  await printing(progress?.acked ?? 0);

  for (const role of roles) {
    await processes[role].stop();
    const moved = await millrace(home, 'migrate', role, '--to', 'files', '--json');
    expect(moved.stderr).toBe('');
    expect(await tablesOf(engine, role)).toEqual([]);
    await processes[role].start();
  }
  expect(await mailTopics()).toEqual([]);
  expect((await untilEnded(operator, print, 120_000)).state).toBe('completed');
  expect((await millrace(home, 'ledger', 'verify')).exit).toBe(0);
  expect((await millrace(home, 'vault', 'check', '--deep')).exit).toBe(0);
  await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
  const settings = JSON.parse(await readFile(join(folderOf(installation, 'control'), nodeFiles.settings), 'utf8'));
  expect(settings.cluster).toBeUndefined();
}, 420_000);

it('a backup of nodes in Cassandra restores to files, which move to Cassandra again', async ({ skip }) => {
  if (typeof engine === 'string' || system === undefined) return skip('there is no Cassandra');
  const { home, processes } = system;
  const started = ['control', 'distribution', 'segments', 'keys'] as const;
  await Promise.all(Object.values(processes).map((process) => process.stop()));
  const move = async (to: 'cluster' | 'files') => {
    for (const role of roles) {
      const more = to === 'cluster' ? ['--cluster', await clusterFile(role)] : [];
      expect((await millrace(home, 'migrate', role, '--to', to, ...more)).stderr).toBe('');
    }
  };
  const backup = join(system.scratch, 'backup');
  await move('cluster');
  const made = await millrace(home, 'backup', 'create', backup, '--json');
  expect(made.stderr).toBe('');
  expect(await readdir(home)).not.toContain('.exported');
  const refused = await millrace(home, 'backup', 'restore', backup);
  expect(refused.code).toBe('E_CONFIG');
  expect(refused.stderr).toMatch(/migrate control --to files/);

  await move('files');
  const restored = await millrace(home, 'backup', 'restore', backup, '--json');
  expect(restored.stderr).toBe('');
  expect(restored.json).toMatchObject({ control: 'kept', lost: { designs: 0, licences: 0 } });
  await move('cluster');
  for (const name of started) await processes[name].start();
  expect((await millrace(home, 'ledger', 'verify')).exit).toBe(0);
  expect((await millrace(home, 'vault', 'check', '--deep')).exit).toBe(0);
}, 300_000);
