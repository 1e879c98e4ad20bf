import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Closer } from '@millrace/base';
import { nodeFiles } from '@millrace/cli/parts';
import { noisyGcode } from '@millrace/testkit/designs';
import { createHosts, freePort, type Host, presentBuild } from '@millrace/testkit/hosts';
import { buildCommit, type OldBuild } from '@millrace/testkit/old-build';
import { factorFor } from '@millrace/testkit/pace';
import type { Managed } from '@millrace/testkit/process';
import { createTestCluster, openTestEngines } from '@millrace/testkit/test-engines';
import { openWorkshop } from '@millrace/testkit/workshop';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest';

// docs/runbooks/upgrade.md: an installation of an earlier version is upgraded node by node, each while a machine prints,
// and one node goes back to the earlier version and forth again. Once with the state in files, once with that of control
// and segments in Cassandra and the mail in Kafka.

/** The earlier version: the last commit of protocol 1. Chosen anew when a version is released. */
const COMMIT = process.env.MILLRACE_OLD_COMMIT ?? 'fb244af0fe77eb0201eeccaeff1a53df4983f05a';
const PRINT_SECONDS = 10;
const roles = ['control', 'distribution', 'segments', 'keys'] as const;
type Role = (typeof roles)[number];

let old: OldBuild | string;
beforeAll(async () => {
  old = await buildCommit(COMMIT);
  if (typeof old === 'string') console.log(old);
}, 600_000);
afterAll(async () => {
  if (typeof old === 'object') await old.close();
});
let closer: Closer;
beforeEach(() => {
  closer = new Closer();
});
afterEach(() => closer.close());

type Clusters = Readonly<Partial<Record<Role, { readonly cluster?: unknown }>>>;

/** Settings of control and segments for a server of each engine; why there is none. */
async function startCluster(): Promise<Clusters | string> {
  const engines = await openTestEngines();
  if (typeof engines === 'string') return engines;
  closer.add(engines);
  const cluster = await createTestCluster(await scratch());
  if (cluster === undefined) throw new Error('the engines were not started');
  const { control = {}, segments = {} } = cluster.settings;
  return { control, segments };
}

async function scratch(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-upgrade-'));
  closer.add({ close: () => rm(folder, { recursive: true, force: true }) });
  return folder;
}

/** Options of `node create` for these settings. The files that they name are carried to the host. */
async function clusterOptions(settings: unknown, host: Host): Promise<string[]> {
  if (settings === undefined) return [];
  let text = JSON.stringify(settings);
  for (const [, file = ''] of text.matchAll(/"(?:passwordFile|authority)":("[^"]*")/g))
    text = text.replaceAll(file, JSON.stringify(await host.carry(JSON.parse(file))));
  const file = join(await scratch(), 'cluster.json');
  await writeFile(file, text);
  return ['--cluster', await host.carry(file)];
}

const title =
  'state in %s: nodes are upgraded one by one, and back, while a machine prints; every part is right, none is too many';
it.for(['files', 'Cassandra and Kafka'])(title, { timeout: 900_000 }, async (state, { skip }) => {
  if (typeof old === 'string') return skip(old);
  const earlier = old;
  const engines: Clusters | string = state === 'files' ? {} : await startCluster();
  if (typeof engines === 'string') return skip(engines);
  const hosts = closer.add(await createHosts(earlier));
  const admin = await hosts.add('admin');
  const entries = await Promise.all(roles.map(async (role) => [role, await hosts.add(role)] as const));
  const host = Object.fromEntries(entries) as Record<Role, Host>;
  const { installation, adminKey } = await admin.millrace<{ installation: string; adminKey: string }>(
    ...['init', '--without-nodes', '--name', 'Rolling'],
  );
  const control = `127.0.0.1:${await freePort()}`;
  const addresses: Partial<Record<Role, string>> = { control, distribution: `127.0.0.1:${await freePort()}` };
  const requests = await Promise.all(
    roles.map(async (role) =>
      host[role].millrace<{ request: string; fingerprint: string }>(
        ...['node', 'create', '--role', role, '--id', `${role}-1`, '--installation', installation],
        ...['--admin-key', adminKey, '--out', host[role].path(`${role}.request`)],
        ...(addresses[role] === undefined ? [] : ['--address', addresses[role]]),
        ...(await clusterOptions(engines[role]?.cluster, host[role])),
      ),
    ),
  );
  const files = await Promise.all(requests.map(({ request }) => admin.carry(request)));
  const fingerprints = requests.map(({ fingerprint }) => fingerprint);
  const admitted = await admin.millrace<{ nodes: { id: string; admission: string }[] }>(
    ...['node', 'admit', ...files, '--fingerprint', ...fingerprints],
  );
  const nodes = {} as Record<Role, Managed>;
  for (const role of roles) {
    const { admission = '' } = admitted.nodes.find(({ id }) => id === `${role}-1`) ?? {};
    nodes[role] = await host[role].runNode('--admission', await host[role].carry(admission));
  }

  for (const role of ['control', 'segments'] as const)
    expect([role, existsSync(join(host[role].home, nodeFiles.keyspace))]).toEqual([role, state !== 'files']);

  const part = noisyGcode(500_000);
  const workshop = await openWorkshop(hosts, admin, control, await factorFor(part, PRINT_SECONDS));
  const { ada, otto, site, licence, makePart } = workshop;
  // One for the old installation, one a step, and one for the new agent and the new commands.
  const steps: readonly (readonly [Role, 'up' | 'back'])[] = [
    ...roles.map((role) => [role, 'up'] as const),
    ['segments', 'back'],
    ['segments', 'up'],
  ];
  const order = await licence(part, steps.length + 2);
  await makePart(order);

  const streams = async () => (await host.segments.log()).split('"stream started"').length;
  for (const [role, direction] of steps) {
    const before = await streams();
    const printed = makePart(order);
    printed.catch(() => undefined); // awaited below
    await vi.waitFor(async () => expect(await streams()).toBeGreaterThan(before), { timeout: 120_000, interval: 50 });
    await nodes[role].stop();
    host[role].install(direction === 'up' ? presentBuild : earlier);
    nodes[role] = await host[role].runNode();
    await printed;
  }

  await workshop.agent.stop();
  for (const each of [site, ada, otto, admin]) each.install(presentBuild);
  await site.runAgent('--page', 'off');
  await makePart(order);
  expect(await otto.refusal(...order)).toContain('E_LICENCE_EXHAUSTED');
  await admin.millrace('vault', 'check', '--deep'); // throws if a cell is missing or damaged
  for (const role of roles) expect(await host[role].log(), role).not.toMatch(/E_ALARM|E_QUARANTINE|E_VERSION/);
});
