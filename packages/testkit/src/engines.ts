import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const scripts = join(dirname(fileURLToPath(import.meta.url)), '../../../scripts/cluster');

/** A server of an engine: one Cassandra node or one Kafka broker. */
export interface Server {
  readonly host: string;
  readonly port: number;
  readonly pid: number;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again over the same data, if it does not run. @param settings further variables of its script */
  start(settings?: Readonly<Record<string, string>>): Promise<void>;
  /** SIGSTOP, until `resume`. */
  freeze(): void;
  resume(): void;
}

/** What the servers of an engine share. */
interface Shared {
  readonly user: string;
  readonly password: string;
  /** The authority of their certificates, PEM. These name localhost, 127.0.0.1 to 127.0.0.5, and the given places. */
  readonly ca: string;
  /** Stops every server and deletes its data. */
  close(): Promise<void>;
}

/** Real Cassandra nodes or Kafka brokers that form one cluster, with TLS and logins, for tests. */
export interface EngineCluster extends Shared {
  readonly servers: readonly Server[];
}

/** One real Cassandra node or Kafka broker with TLS and logins, for tests. */
export interface Engine extends Shared, Server {}

export type EngineKind = 'cassandra' | 'kafka';

/** Where a server of an engine runs. Default: on loopback. */
export interface Place {
  readonly address: string;
  /** Network namespace. */
  readonly namespace: string;
}

/**
 * Starts an engine of one server. It is fetched with Maven when that was not done before.
 * @param settings further variables of its script
 * @returns why there is none, if something is not installed or cannot be fetched
 */
export async function startEngine(
  kind: EngineKind,
  settings: Readonly<Record<string, string>> = {},
): Promise<Engine | string> {
  const cluster = await startEngines(kind, 1, { settings });
  if (typeof cluster === 'string') return cluster;
  const { servers, ...shared } = cluster;
  return Object.assign(servers[0] as Server, shared);
}

/**
 * Starts an engine of several servers.
 * @param options.places one for each server
 * @returns why there is none, if something is not installed or cannot be fetched
 */
export async function startEngines(
  kind: EngineKind,
  count: number,
  options: { readonly settings?: Readonly<Record<string, string>>; readonly places?: readonly Place[] } = {},
): Promise<EngineCluster | string> {
  const { settings = {}, places = [] } = options;
  const java = spawnSync('java', ['-version']);
  if (java.status !== 0) return `there is no Java: ${kind} is not checked`;
  const folder = await mkdtemp(join(tmpdir(), `millrace-${kind}-`));
  const script = join(scripts, `${kind}.sh`);
  const environment: NodeJS.ProcessEnv = {
    ...(await engineEnvironment(kind, folder, settings)),
    MILLRACE_PLACES: places.map(({ address, namespace }) => `${address}@${namespace}`).join(' '),
  };
  const call = async (args: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<string> => {
    const env = { ...environment, ...more };
    const { stdout } = await promisify(execFile)(script, args, { env, maxBuffer: 2 ** 24 });
    return stdout;
  };
  try {
    await call(['fetch']);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    return `${kind} cannot be fetched, so it is not checked: ${String((error as { stderr?: string }).stderr).trim()}`;
  }
  const stop = () => execFileSync(script, ['down'], { env: environment, stdio: 'ignore' });
  process.once('exit', stop);
  try {
    await call([String(count)]);
  } catch (error) {
    process.removeListener('exit', stop);
    stop();
    throw new Error(`${kind} does not start: ${String((error as { stderr?: string }).stderr)}`);
  }
  const first = Number(environment[kind === 'cassandra' ? 'CASS_PORT' : 'KAFKA_PORT']);
  const serverOf = (index: number): Server => {
    const number = String(index + 1);
    const pid = () => Number(readFileSync(join(folder, kind, number, 'pid'), 'utf8').split(' ')[0]);
    return {
      host: places[index]?.address ?? (kind === 'cassandra' ? `127.0.0.${number}` : '127.0.0.1'),
      port: kind === 'cassandra' ? first : first + index,
      get pid() {
        return pid();
      },
      kill: async () => void (await call(['kill', number])),
      start: async (more = {}) => void (await call(['start', number], more)),
      freeze: () => void process.kill(pid(), 'SIGSTOP'),
      resume: () => void process.kill(pid(), 'SIGCONT'),
    };
  };
  const servers = Array.from({ length: count }, (_, index) => serverOf(index));
  return {
    servers,
    user: kind,
    password: kind === 'cassandra' ? 'cassandra' : 'kafka-secret',
    ca: existsSync(join(folder, 'security/ca.pem')) ? await readFile(join(folder, 'security/ca.pem'), 'utf8') : '',
    async close() {
      process.removeListener('exit', stop);
      for (const server of servers) resumeIfThere(server);
      await call(['wipe']);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A stopped process would not take the signal that ends it. */
function resumeIfThere(server: Server): void {
  try {
    server.resume();
  } catch {
    // it was killed
  }
}

/** Variables for the script of an engine: free ports, TLS and logins, its data in `folder`. */
export async function engineEnvironment(
  kind: EngineKind,
  folder: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<NodeJS.ProcessEnv> {
  const base = await freeBase();
  const ports: Record<string, number> =
    kind === 'cassandra'
      ? { CASS_PORT: base, CASS_STORAGE_PORT: base + 1, CASS_JMX_BASE: base + 3 }
      : { KAFKA_PORT: base, KAFKA_SESSION_MS: 18_000 }; // a busy machine answers late, and there is no second broker
  const secure = kind === 'cassandra' ? 'CASS_SECURE' : 'KAFKA_SECURE';
  const texts = Object.entries(ports).map(([name, port]) => [name, String(port)]);
  return { ...process.env, MILLRACE_CLUSTER: folder, [secure]: '1', ...Object.fromEntries(texts), ...settings };
}

/** First of the ports that up to three servers of an engine use: base … base + 6, and three each from + 100 and + 200. */
async function freeBase(): Promise<number> {
  for (;;) {
    const base = 21_000 + Math.floor(Math.random() * 10_000);
    const ports = [0, 1, 2, 3, 4, 5, 6, 100, 101, 102, 200, 201, 202].map((offset) => base + offset);
    if ((await Promise.all(ports.map(isFree))).every(Boolean)) return base;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
