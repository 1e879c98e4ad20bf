import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeFiles } from '@millrace/cli/parts';
import { millrace } from '@millrace/testkit/cli';
import { noisyGcode } from '@millrace/testkit/designs';
import { type Engine, startEngine } from '@millrace/testkit/engines';
import { license, order, store, untilEnded, untilPrint } from '@millrace/testkit/job';
import { factorFor } from '@millrace/testkit/pace';
import {
  createTestInstallation,
  folderOf,
  processNames,
  type TestInstallation,
} from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

// The main job with control and segments on a real Cassandra node.

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

async function clusterOf({ host, port, user, password, ca }: Engine, keyspace: string): Promise<object> {
  const [authority, passwordFile] = [join(folder, 'ca.pem'), join(folder, 'password')];
  await writeFile(authority, ca);
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  return {
    contactPoints: [`${host}:${port}`],
    localDataCenter: 'datacenter1',
    keyspace,
    copies: 1,
    login: { user, passwordFile },
    tls: { authority },
  };
}

it('prints while cells are renewed, through kills of both nodes and of Cassandra, and no object beyond N', async ({
  skip,
}) => {
  if (typeof engine === 'string') return skip(engine);
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
});
