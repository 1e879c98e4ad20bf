import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeFiles } from '@millrace/cli/parts';
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
import driver from 'cassandra-driver';
import { afterAll, beforeAll, expect, it } from 'vitest';

// The main job with control and segments on a real Cassandra node, in the keyspaces and as the roles of docs/cluster.md.

const design = noisyGcode(300_000);
let engine: Engine | string;
let folder: string;
let system: TestInstallation | undefined;
beforeAll(async () => {
  engine = await startEngine('cassandra');
  if (typeof engine === 'string') console.log(engine);
  folder = await mkdtemp(join(tmpdir(), 'millrace-cluster-'));
});
afterAll(async () => {
  await system?.close();
  if (typeof engine === 'object') await engine.close();
  await rm(folder, { recursive: true, force: true });
});

type Role = 'control' | 'segments';
const keyspaceOf = (role: Role) => `millrace_${role}`;
const passwordOf = (role: Role) => `password of ${role}`;

const clientOf = ({ host, port, ca }: Engine, user: string, password: string) =>
  new driver.Client({
    contactPoints: [`${host}:${port}`],
    localDataCenter: 'datacenter1',
    authProvider: new driver.auth.PlainTextAuthProvider(user, password),
    sslOptions: { ca, rejectUnauthorized: true },
    socketOptions: { readTimeout: 60_000 },
  });

/** Runs the statements of docs/cluster.md for both nodes, with one copy because there is one server. */
async function makeRoles(engine: Engine): Promise<void> {
  const guide = await readFile(new URL('../../docs/cluster.md', import.meta.url), 'utf8');
  const [, block = ''] = /```sql\n(.*?)```/s.exec(guide) ?? [];
  const statements = block.split(';').filter((each) => each.trim() !== '');
  expect(statements.length).toBeGreaterThan(2);
  const admin = clientOf(engine, engine.user, engine.password);
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

it('prints while cells are renewed, through kills of both nodes and of Cassandra, and no object beyond N', async ({
  skip,
}) => {
  if (typeof engine === 'string') return skip(engine);
  await makeRoles(engine);
  system = await createTestInstallation({
    machine: { factor: await factorFor(design, 6) },
    maintenance: { periodMs: 3_000, density: 50 },
    settings: {
      control: { cluster: await clusterOf(engine, 'control') },
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
  await engine.kill();
  await engine.start();
  const second = await order(system, operator, licence);
  expect((await untilEnded(operator, second, 120_000)).state).toBe('completed');
  await expect(order(system, operator, licence)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });

  // The folders hold neither cells nor the ledger, so a backup of the folders is refused.
  const data = join(folderOf(system.installation, 'segments'), nodeFiles.data);
  expect(await readdir(data)).not.toContain(nodeFiles.cells);
  await Promise.all(processNames.map((name) => system?.processes[name].kill()));
  const backup = await millrace(system.home, 'backup', 'create', join(system.scratch, 'backup'));
  expect(backup.code).toBe('E_CONFIG');
  expect(backup.stderr).toMatch(/in a cluster/);

  // A role of one node can use neither the other's records nor drop what it uses itself.
  const thief = clientOf(engine, 'segments', passwordOf('segments'));
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
    expect(await system.log(role)).toContain(`in keyspace ${keyspaceOf(role)} of a cluster`);
  }
});
