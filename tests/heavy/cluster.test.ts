import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeFiles } from '@millrace/cli/parts';
import { cassandraClient } from '@millrace/testkit/cassandra-client';
import { millrace } from '@millrace/testkit/cli';
import { noisyGcode } from '@millrace/testkit/designs';
import { type Engine, startEngine } from '@millrace/testkit/engines';
import { license, order, store, untilEnded, untilPrint } from '@millrace/testkit/job';
import { factorFor } from '@millrace/testkit/pace';
import { setNode } from '@millrace/testkit/settings';
import {
  createTestInstallation,
  folderOf,
  processNames,
  type TestInstallation,
} from '@millrace/testkit/test-installation';
import kafkajs from 'kafkajs';
import { afterAll, beforeAll, expect, it } from 'vitest';

// The main job with control and segments on a real Cassandra node and a real Kafka broker, in the keyspaces and with the
// permissions of docs/cluster.md.

const design = noisyGcode(300_000);
let engine: Engine | string;
let kafka: Engine | string;
let folder: string;
let system: TestInstallation | undefined;
beforeAll(async () => {
  engine = await startEngine('cassandra');
  kafka = await startEngine('kafka');
  for (const each of [engine, kafka]) if (typeof each === 'string') console.log(each);
  folder = await mkdtemp(join(tmpdir(), 'millrace-cluster-'));
});
afterAll(async () => {
  await system?.close();
  for (const each of [engine, kafka]) if (typeof each === 'object') await each.close();
  await rm(folder, { recursive: true, force: true });
});

type Role = 'control' | 'segments';
const keyspaceOf = (role: Role) => `millrace_${role}`;
const passwordOf = (role: Role) => `password of ${role}`;

/** Runs the statements of docs/cluster.md for both nodes, with one copy because there is one server. */
async function makeRoles(engine: Engine): Promise<void> {
  const guide = await readFile(new URL('../../docs/cluster.md', import.meta.url), 'utf8');
  const [, block = ''] = /```sql\n(.*?)```/s.exec(guide) ?? [];
  const statements = block.split(';').filter((each) => each.trim() !== '');
  expect(statements.length).toBeGreaterThan(2);
  const admin = cassandraClient(engine, [engine]);
  try {
    for (const role of ['control', 'segments'] as const)
      for (const statement of statements)
        await admin.execute(
          statement
            .replaceAll('control', role)
            .replace("'datacenter1': 3", "'datacenter1': 1")
            .replace('…', passwordOf(role)),
        );
  } finally {
    await admin.shutdown();
  }
}

/** The permissions of a section of docs/cluster.md, which kafka-acls.sh would give. */
async function allowMail({ host, port, user, password, ca }: Engine, heading: string, count: number): Promise<void> {
  const guide = await readFile(new URL('../../docs/cluster.md', import.meta.url), 'utf8');
  const section = guide.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? '';
  const granted = [...section.matchAll(/--(topic|group) (\S+)((?:[\s\\]+--operation \w+)+)/g)].flatMap(
    ([, resource, resourceName = '', operations = '']) =>
      [...operations.matchAll(/--operation (\w+)/g)].map(([, name = '']) => ({
        resourceType: resource === 'topic' ? kafkajs.AclResourceTypes.TOPIC : kafkajs.AclResourceTypes.GROUP,
        resourceName,
        resourcePatternType: kafkajs.ResourcePatternTypes.PREFIXED,
        principal: 'User:control',
        host: '*',
        operation: aclOperations[name] ?? kafkajs.AclOperationTypes.UNKNOWN,
        permissionType: kafkajs.AclPermissionTypes.ALLOW,
      })),
  );
  expect(granted).toHaveLength(count);
  const sasl = { mechanism: 'scram-sha-512', username: user, password } as const;
  const admin = new kafkajs.Kafka({ brokers: [`${host}:${port}`], ssl: { ca }, sasl }).admin();
  await admin.connect();
  try {
    await admin.createAcls({ acl: granted });
  } finally {
    await admin.disconnect();
  }
}

const aclOperations: Readonly<Record<string, kafkajs.AclOperationTypes>> = {
  Create: kafkajs.AclOperationTypes.CREATE,
  Delete: kafkajs.AclOperationTypes.DELETE,
  Describe: kafkajs.AclOperationTypes.DESCRIBE,
  DescribeConfigs: kafkajs.AclOperationTypes.DESCRIBE_CONFIGS,
  Read: kafkajs.AclOperationTypes.READ,
  Write: kafkajs.AclOperationTypes.WRITE,
};

async function mailOf({ host, port, password, ca }: Engine): Promise<object> {
  const [authority, passwordFile] = [join(folder, 'kafka-ca.pem'), join(folder, 'kafka.password')];
  await writeFile(authority, ca);
  await writeFile(passwordFile, password, { mode: 0o600 });
  const access = { login: { user: 'control', passwordFile }, tls: { authority } };
  return { brokers: [`${host}:${port}`], prefix: 'millrace', copies: 1, ...access };
}

async function clusterOf({ host, port, ca }: Engine, role: Role): Promise<object> {
  const [authority, passwordFile] = [join(folder, 'ca.pem'), join(folder, `${role}.password`)];
  await writeFile(authority, ca);
  await writeFile(passwordFile, `${passwordOf(role)}\n`, { mode: 0o600 });
  return {
    contactPoints: [`${host}:${port}`],
    localDataCenter: 'datacenter1',
    keyspace: keyspaceOf(role),
    login: { user: role, passwordFile },
    tls: { authority },
  };
}

it('prints while cells are renewed, through kills of both nodes, of Cassandra and of Kafka, and no object beyond N', async ({
  skip,
}) => {
  if (typeof engine === 'string') return skip(engine);
  if (typeof kafka === 'string') return skip(kafka);
  await makeRoles(engine);
  await allowMail(kafka, 'Kafka, for the mail', 6);
  system = await createTestInstallation({
    machine: { factor: await factorFor(design, 6) },
    maintenance: { periodMs: 3_000, density: 50 },
    settings: {
      control: { cluster: { ...(await clusterOf(engine, 'control')), kafka: await mailOf(kafka) } },
      segments: { cluster: await clusterOf(engine, 'segments') },
    },
  });
  const owner = await system.session('owner');
  const operator = await system.session('operator');
  const stored = await store(system, owner, design);
  const licence = await license(system, owner, stored.design, 2);

  const first = await order(system, operator, licence);
  await untilPrint(operator, first, ({ progress }) => (progress?.acked ?? 0) > 0);
  expect((await untilEnded(operator, first, 120_000)).state).toBe('completed');

  const { control, segments } = system.processes;
  for (const node of [control, segments]) {
    await node.kill();
    await node.start();
  }
  for (const each of [engine, kafka]) {
    await each.kill();
    await each.start();
  }
  const second = await order(system, operator, licence);
  expect((await untilEnded(operator, second, 120_000)).state).toBe('completed');
  await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });

  // The folders hold neither cells nor the ledger. A backup has both, and the mail that is in Kafka.
  const data = join(folderOf(system.installation, 'segments'), nodeFiles.data);
  expect(await readdir(data)).not.toContain(nodeFiles.cells);
  expect(await readdir(join(folderOf(system.installation, 'control'), nodeFiles.data))).not.toContain('data.mdb');
  await Promise.all(processNames.map((name) => system?.processes[name].kill()));
  const backup = await millrace(system.home, 'backup', 'create', join(system.scratch, 'backup'));
  expect(backup.stderr).toBe('');

  // A role of one node can use neither the other's records nor drop what it uses itself.
  const thief = cassandraClient({ ...engine, user: 'segments', password: passwordOf('segments') }, [engine]);
  for (const statement of [
    `SELECT * FROM ${keyspaceOf('control')}.log_rows`,
    `CREATE TABLE ${keyspaceOf('control')}.mine (id int PRIMARY KEY)`,
    `DROP KEYSPACE ${keyspaceOf('segments')}`,
    'SELECT * FROM system_auth.roles',
  ])
    await expect(thief.execute(statement), statement).rejects.toThrow(/has no \w+ permission/);
  await thief.shutdown();

  // Without `cluster` in their settings, the nodes do not start empty.
  for (const role of ['control', 'segments'] as const) {
    await setNode(system.installation.layout, role, { cluster: undefined });
    await expect(system.processes[role].start()).rejects.toThrow(/ended/);
    expect(await system.log(role)).toMatch(new RegExp(`in keyspace ${keyspaceOf(role)} (\\(.*\\) )?of a cluster`));
  }
});

it('a move of control to files needs the permission to delete topics, and is completed when it is given', async ({
  skip,
}) => {
  if (typeof engine === 'string') return skip(engine);
  if (typeof kafka === 'string' || system === undefined) return skip('there is no installation in Kafka');
  const { home, installation, processes } = system;
  const cluster = { ...(await clusterOf(engine, 'control')), kafka: await mailOf(kafka) };
  await setNode(installation.layout, 'control', { cluster });
  const toFiles = () => millrace(home, 'migrate', 'control', '--to', 'files');
  const refused = await toFiles();
  expect(refused.code).toBe('E_CONFIG');
  expect(refused.stderr).toContain('Kafka: ');
  await expect(processes.control.start()).rejects.toThrow(/ended/);
  await allowMail(kafka, 'Moving an existing node', 1);
  expect((await toFiles()).stderr).toBe('');
  const settings = await readFile(join(folderOf(installation, 'control'), nodeFiles.settings), 'utf8');
  expect(JSON.parse(settings).cluster).toBeUndefined();
});
