import { execFile, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { engineEnvironment } from '@millrace/testkit/engines';
import { createHosts, freePort } from '@millrace/testkit/hosts';
import { administratorAt, openWorkshop } from '@millrace/testkit/workshop';
import { expect, it } from 'vitest';

const program = fileURLToPath(new URL('../../scripts/cluster.mjs', import.meta.url));
const engine = (name: string) => fileURLToPath(new URL(`../../scripts/cluster/${name}.sh`, import.meta.url));

interface Place {
  readonly home: string;
  readonly env: NodeJS.ProcessEnv;
  /** Port of the first control node. */
  readonly control: number;
  /** Port of its console. */
  readonly pages: number;
  /** What the script of an engine says of its servers. */
  status(name: string): Promise<string>;
  close(): Promise<void>;
}

/** An empty folder and free ports for `npm run cluster`. @returns why it cannot be started, if so */
async function findPlace(): Promise<Place | string> {
  if (spawnSync('java', ['-version']).status !== 0) return 'there is no Java: the cluster is not started';
  const home = await mkdtemp(join(tmpdir(), 'millrace-npm-cluster-'));
  const engines = join(home, 'engines');
  const [control, pages] = [await freePort(), await freePort()];
  const env = {
    ...(await engineEnvironment('cassandra', engines)),
    ...(await engineEnvironment('kafka', engines)),
    ...{ CASS_SECURE: '0', KAFKA_SECURE: '0' },
    MILLRACE_CONTROL_PORT: String(control),
    MILLRACE_CONTROL_2_PORT: String(await freePort()),
    MILLRACE_DISTRIBUTION_PORT: String(await freePort()),
    MILLRACE_DISTRIBUTION_2_PORT: String(await freePort()),
    MILLRACE_CONSOLE_PORT: String(pages),
    MILLRACE_CONSOLE_2_PORT: String(await freePort()),
  };
  const close = async () => {
    for (const name of ['cassandra', 'kafka']) await promisify(execFile)(engine(name), ['down'], { env });
    await rm(home, { recursive: true, force: true });
  };
  for (const name of ['cassandra', 'kafka'])
    try {
      await promisify(execFile)(engine(name), ['fetch'], { env });
    } catch {
      await close();
      return `${name} cannot be fetched: the cluster is not started`;
    }
  const status = async (name: string) => (await promisify(execFile)(engine(name), ['status'], { env })).stdout;
  return { home, env, control, pages, status, close };
}

interface Running {
  /** Ctrl-C. @returns the exit code */
  stop(): Promise<unknown>;
  readonly said: string;
}

/** Resolves when everything runs, or when the command has ended. */
async function start({ home, env }: Place, ...options: readonly string[]): Promise<Running> {
  const child = spawn(process.execPath, [program, ...options, '--home', home], {
    ...{ env, stdio: ['ignore', 'pipe', 'inherit'] },
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const running = {
    said: '',
    stop: () => {
      child.kill('SIGINT');
      return ended;
    },
  };
  await new Promise<void>((resolve) => {
    child.stdout.on('data', (text) => {
      running.said += text;
      if (running.said.includes('Everything runs')) resolve();
    });
    void ended.then(() => resolve());
  });
  return running;
}

it('npm run cluster starts everything, goes on where it was, and leaves nothing behind', async ({ skip }) => {
  const place = await findPlace();
  if (typeof place === 'string') return skip(place);
  const { home, env, pages } = place;
  try {
    const once = await promisify(execFile)(process.execPath, [program, '--once', '--home', home], { env });
    expect(once.stdout).toContain(`http://localhost:${pages}/#/session/`);
    for (const name of ['cassandra', 'kafka']) expect(await place.status(name)).toMatch(/^node 1 down$/m);
    // State is in the cluster: these nodes have no LMDB.
    for (const id of ['control-1', 'segments-1', 'keys-1'])
      expect(existsSync(join(home, `hosts/${id}/data/data.mdb`)), id).toBe(false);
    expect(await readFile(join(home, 'hosts/control-1/keyspace'), 'utf8')).toContain('mail: Kafka');

    const again = await start(place);
    expect((await fetch(`http://localhost:${pages}/`)).status).toBe(200);
    expect(await again.stop(), again.said).toBe(0);
    for (const name of ['cassandra', 'kafka']) expect(await place.status(name)).toMatch(/^node 1 down$/m);
    await expect(fetch(`http://localhost:${pages}/`)).rejects.toThrow();
  } finally {
    await place.close();
  }
});

it('npm run cluster -- --full starts three servers of each engine and two of each node, which make a part', async ({
  skip,
}) => {
  const place = await findPlace();
  if (typeof place === 'string') return skip(place);
  const hosts = await createHosts();
  try {
    const cluster = await start(place, '--full');
    expect(cluster.said).toContain(`http://localhost:${place.pages}/#/session/`);
    for (const name of ['cassandra', 'kafka'])
      expect(await place.status(name)).toMatch(/^node 1 .*pid.*\nnode 2 .*pid.*\nnode 3 .*pid/);
    const admin = administratorAt(join(place.home, 'admin'));
    const { nodes } = await admin.millrace<{ nodes: { id: string }[] }>('node', 'list');
    const several = ['control', 'distribution', 'segments'].flatMap((role) => [`${role}-1`, `${role}-2`]);
    expect(nodes.map(({ id }) => id).sort()).toEqual([...several, 'keys-1'].sort());
    const keys = administratorAt(join(place.home, 'hosts/keys-1'));
    const { replicas } = await keys.millrace<{ replicas: { id: string; inSync: boolean }[] }>('node', 'replicas');
    expect(replicas.map(({ id }) => id).sort()).toEqual(['keys-1', 'keys-1-b']);
    const { licence, makePart, otto } = await openWorkshop(hosts, admin, `127.0.0.1:${place.control}`);
    const order = await licence('G28\nG1 X10 Y10 F3000\nM84\n', 1);
    await makePart(order);
    expect(await otto.refusal(...order)).toContain('E_LICENCE_EXHAUSTED');
    expect(await cluster.stop(), cluster.said).toBe(0);
    for (const name of ['cassandra', 'kafka'])
      expect(await place.status(name)).toBe('node 1 down\nnode 2 down\nnode 3 down\n');
  } finally {
    await hosts.close();
    await place.close();
  }
}, 600_000);
