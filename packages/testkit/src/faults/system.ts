import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Closer, sleep } from '@millrace/base';
import { nodesOf } from '@millrace/protocol';
import driver from 'cassandra-driver';
import { addNodes } from '../added-nodes.ts';
import { cassandraClient } from '../cassandra-client.ts';
import { type EngineCluster, type Place, startEngines } from '../engines.ts';
import { type Halves, openHalves } from '../halves.ts';
import { healthOf } from '../health.ts';
import { addKeysReplica } from '../keys-replica.ts';
import type { Managed, ProcessEnvironment } from '../process.ts';
import { createTestInstallation, type TestInstallation, type TestInstallationOptions } from '../test-installation.ts';

// A whole installation for tests that break its parts: servers of Cassandra and Kafka and several nodes of each kind, in
// two halves of a network if the test runs as root. With three servers of each engine, it has no single point of failure.

const SUPERVISE_MS = 500;

/** Something that can be killed or stopped. */
export interface Part {
  readonly name: string;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** SIGSTOP. */
  freeze(): void;
  /** Starts it again if it was killed; lets it go on if it was stopped. */
  back(how: 'killed' | 'frozen'): Promise<void>;
}

export interface FaultSystem {
  readonly system: TestInstallation;
  readonly engines: Readonly<Record<'cassandra' | 'kafka', EngineCluster>>;
  /** Every Millrace node, by its id. */
  readonly nodes: ReadonlyMap<string, Managed>;
  /** Why there are none, if the test does not run as root. */
  readonly halves: Halves | string;
  /** The half that has most servers of both engines; undefined if none has. */
  readonly majority: 'a' | 'b' | undefined;
  /** Nodes of this role; servers of an engine. */
  parts(kind: 'cassandra' | 'kafka' | 'control' | 'keys' | 'segments' | 'distribution'): Part[];
  /** What each control node answers to the question whether it is active, by id. */
  health(): Promise<Map<string, 'active' | 'standby' | 'silent'>>;
  /** Logs of the replicas of the keys node. */
  readonly keysLogs: readonly string[];
  /** The replica of the keys node that became active last, by its log. */
  activeKeys(): Promise<string>;
  /** The state of the ledger in Cassandra: newest fencing token, and number and token of the last batch. */
  ledgerHead(): Promise<{ readonly newest: number; readonly writer: number; readonly batch: number }>;
  /** How often each node was started again because it had ended by itself. */
  readonly restarts: ReadonlyMap<string, number>;
  close(): Promise<void>;
}

interface FaultSystemOptions extends Pick<TestInstallationOptions, 'machine' | 'maintenance'> {
  /** Servers of each engine: 1 or 3. The first one is in half A, the others in half B. */
  readonly servers: Readonly<Record<'cassandra' | 'kafka', number>>;
}

/** @returns the reason why there is none, if an engine is not installed */
export async function openFaultSystem(options: FaultSystemOptions): Promise<FaultSystem | string> {
  const closer = new Closer();
  try {
    return await open(options, closer);
  } catch (error) {
    await closer.close();
    throw error;
  }
}

async function open({ servers, ...options }: FaultSystemOptions, closer: Closer): Promise<FaultSystem | string> {
  const halves = openHalves();
  if (typeof halves === 'object') closer.add({ close: async () => halves.close() });
  const folder = await mkdtemp(join(tmpdir(), 'millrace-faults-'));
  closer.add({ close: () => rm(folder, { recursive: true, force: true }) });
  const places = placesOf(halves);
  const settings = { CASS_PARALLEL: '1', CASS_HEAP: '400m', KAFKA_HEAP: '256m', KAFKA_SESSION_MS: '6000' };
  const [cassandra, kafka] = await Promise.all(
    (['cassandra', 'kafka'] as const).map(async (kind) => {
      const count = servers[kind];
      const engine = await startEngines(kind, count, { settings, places: places.slice(0, count) });
      return typeof engine === 'string' ? engine : closer.add(engine);
    }),
  );
  if (cassandra === undefined || typeof cassandra === 'string') return cassandra ?? 'no Cassandra';
  if (kafka === undefined || typeof kafka === 'string') return kafka ?? 'no Kafka';

  const engines = { cassandra, kafka };
  const access = await accessOf(engines, folder);
  const [a, b] = typeof halves === 'string' ? [undefined, undefined] : [halves.a, halves.b];
  const inA: ProcessEnvironment = a === undefined ? {} : { within: a.within };
  const inB: ProcessEnvironment = b === undefined ? {} : { within: b.within };
  const control = { cluster: { ...access.cassandra('control'), kafka: access.kafka } };
  const segments = { cluster: access.cassandra('segments') };
  const keys = { cluster: access.cassandra('keys') };
  const system = closer.add(
    await createTestInstallation({
      ...options,
      ...(a !== undefined && { host: a.addresses[0] ?? '' }),
      settings: { control, segments, keys },
      environment: { control: inA, distribution: inA, segments: inA, keys: inB },
    }),
  );
  const second = { host: b?.addresses[0], within: b?.within };
  const added = await addNodes(system, [
    { role: 'control', id: 'control-2', settings: control, ...second },
    { role: 'segments', id: 'segments-2', settings: segments, ...second },
    { role: 'distribution', id: 'distribution-2', ...second },
  ]);
  for (const { process } of added) {
    closer.add({ close: () => process.kill() });
    await process.start();
  }
  const replica = await addKeysReplica(system, 'keys-1-b', { ...keys, within: a?.within });
  closer.add({ close: () => replica.kill() });
  await replica.start();
  const nodes = new Map<string, Managed>([
    ['keys-1-b', replica],
    ...(['control', 'distribution', 'segments', 'keys'] as const).map(
      (role) => [`${role}-1`, system.processes[role]] as const,
    ),
    ...added.map(({ id, process }) => [id, process] as const),
  ]);
  const restarts = new Map<string, number>();
  /** Nodes that the test has killed, or is starting. */
  const down = new Set<string>();
  closer.add(supervise(nodes, down, restarts));

  const keysNodes = [system.processes.keys, replica];
  const identity = await system.identity('distribution');
  const reader = cassandraClient(cassandra, cassandra.servers);
  closer.add({ close: () => reader.shutdown() });
  return {
    system,
    engines,
    nodes,
    halves,
    majority: servers.cassandra === servers.kafka ? (servers.cassandra === 1 ? 'a' : 'b') : undefined,
    restarts,
    parts: (kind) =>
      kind === 'cassandra' || kind === 'kafka'
        ? engines[kind].servers.map((server, i) => ({
            name: `${kind}-${i + 1}`,
            kill: () => server.kill(),
            freeze: () => server.freeze(),
            back: async (how) => (how === 'killed' ? server.start() : server.resume()),
          }))
        : [...nodes]
            .filter(([id]) => id.startsWith(`${kind}-`))
            .map(([id, process]) => ({
              name: id,
              kill: async () => {
                down.add(id);
                await process.kill();
              },
              freeze: () => process.signal('SIGSTOP'),
              back: async (how) => {
                if (how === 'frozen') return process.signal('SIGCONT');
                await process.start();
                down.delete(id);
              },
            })),
    health: async () => {
      const { directory } = system.installation;
      const ids = [...nodes.keys()].filter((id) => id.startsWith('control-'));
      const answers = ids.map(async (id) => {
        const [address] = nodesOf(directory, id)[0]?.addresses ?? [];
        if (address === undefined) throw new Error(`no address of ${id}`);
        return [id, await healthOf(directory, identity, address)] as const;
      });
      return new Map(await Promise.all(answers));
    },
    ledgerHead: async () => {
      const statement = "SELECT newest, writer, seq FROM control.log_heads WHERE log = 'ledger'";
      const { rows } = await reader.execute(statement, [], { consistency: driver.types.consistencies.quorum });
      const [row] = rows;
      if (row === undefined) throw new Error('Cassandra holds no ledger');
      return { newest: Number(row.newest), writer: Number(row.writer), batch: Number(row.seq) };
    },
    keysLogs: keysNodes.map(({ logFile }) => logFile),
    activeKeys: async () => {
      const times = await Promise.all(
        keysNodes.map(async ({ name, logFile }) => {
          const lines = (await readFile(logFile, 'utf8')).split('\n');
          const last = lines.filter((line) => line.includes('"this keys process is active"')).at(-1);
          return { name, at: last === undefined ? '' : (JSON.parse(last) as { time: string }).time };
        }),
      );
      const newest = times.reduce((best, each) => (each.at > best.at ? each : best));
      return newest.name === 'keys' ? 'keys-1' : newest.name;
    },
    close: () => closer.close(),
  };
}

function placesOf(halves: Halves | string): Place[] {
  if (typeof halves === 'string') return [];
  const { a, b } = halves;
  const at = (half: typeof a, i: number) => ({ address: half.addresses[i] ?? '', namespace: half.namespace });
  return [at(a, 0), at(b, 0), at(b, 1)];
}

async function accessOf({ cassandra, kafka }: Record<'cassandra' | 'kafka', EngineCluster>, folder: string) {
  const login = async (name: string, { user, password, ca, servers }: EngineCluster) => {
    const [authority, passwordFile] = [join(folder, `${name}.pem`), join(folder, `${name}.password`)];
    await writeFile(authority, ca);
    await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
    return { login: { user, passwordFile }, tls: { authority }, copies: servers.length };
  };
  const at = ({ servers }: EngineCluster) => servers.map(({ host, port }) => `${host}:${port}`);
  const cassandraAccess = await login('cassandra', cassandra);
  return {
    cassandra: (keyspace: string) => ({
      ...{ contactPoints: at(cassandra), localDataCenter: 'datacenter1', keyspace },
      ...cassandraAccess,
    }),
    kafka: { brokers: at(kafka), prefix: 'faults', ...(await login('kafka', kafka)) },
  };
}

/** Starts nodes again that end by themselves, as a service manager does. */
function supervise(nodes: ReadonlyMap<string, Managed>, down: Set<string>, restarts: Map<string, number>) {
  const stopping = new AbortController();
  const run = async () => {
    while (!stopping.signal.aborted) {
      for (const [id, process] of nodes) {
        if (process.running || down.has(id)) continue;
        restarts.set(id, (restarts.get(id) ?? 0) + 1);
        down.add(id);
        void process
          .start()
          .catch(() => undefined) // tried again
          .finally(() => down.delete(id));
      }
      await sleep(SUPERVISE_MS, stopping.signal).catch(() => undefined);
    }
  };
  const ended = run();
  return {
    close: async () => {
      stopping.abort();
      await ended;
    },
  };
}
