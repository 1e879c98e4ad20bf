import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const scripts = join(dirname(fileURLToPath(import.meta.url)), '../../../scripts/cluster');

/** One real Cassandra node or Kafka broker with TLS and logins, for tests. */
export interface Engine {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** The authority of its certificate, PEM. The certificate names localhost and 127.0.0.1 to 127.0.0.5. */
  readonly ca: string;
  readonly pid: number;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again over the same data, if it does not run. @param settings further variables of its script */
  start(settings?: Readonly<Record<string, string>>): Promise<void>;
  /** SIGSTOP, until `resume`. */
  freeze(): void;
  resume(): void;
  /** Stops it and deletes its data. */
  close(): Promise<void>;
}

type Kind = 'cassandra' | 'kafka';

/**
 * Starts an engine. It is fetched with Maven when that was not done before.
 * @param settings further variables of its script
 * @returns why there is none, if something is not installed or cannot be fetched
 */
export async function startEngine(
  kind: Kind,
  settings: Readonly<Record<string, string>> = {},
): Promise<Engine | string> {
  const java = spawnSync('java', ['-version']);
  if (java.status !== 0) return `there is no Java: ${kind} is not checked`;
  const folder = await mkdtemp(join(tmpdir(), `millrace-${kind}-`));
  const script = join(scripts, `${kind}.sh`);
  const environment = await engineEnvironment(kind, folder, settings);
  const call = async (...args: string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)(script, args, { env: environment, maxBuffer: 2 ** 24 });
    return stdout;
  };
  try {
    await call('fetch');
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    return `${kind} cannot be fetched, so it is not checked: ${String((error as { stderr?: string }).stderr).trim()}`;
  }
  const stop = () => execFileSync(script, ['down'], { env: environment, stdio: 'ignore' });
  process.once('exit', stop);
  try {
    await call('1');
  } catch (error) {
    process.removeListener('exit', stop);
    stop();
    throw new Error(`${kind} does not start: ${String((error as { stderr?: string }).stderr)}`);
  }
  const port = Number(environment[kind === 'cassandra' ? 'CASS_PORT' : 'KAFKA_PORT']);
  const pid = () => Number(readFileSync(join(folder, kind, '1/pid'), 'utf8').split(' ')[0]);
  return {
    host: '127.0.0.1',
    port,
    user: kind,
    password: kind === 'cassandra' ? 'cassandra' : 'kafka-secret',
    ca: existsSync(join(folder, 'security/ca.pem')) ? await readFile(join(folder, 'security/ca.pem'), 'utf8') : '',
    get pid() {
      return pid();
    },
    kill: async () => void (await call('kill', '1')),
    start: async (more = {}) => {
      await promisify(execFile)(script, ['start', '1'], { env: { ...environment, ...more } });
    },
    freeze: () => void process.kill(pid(), 'SIGSTOP'),
    resume: () => void process.kill(pid(), 'SIGCONT'),
    async close() {
      process.removeListener('exit', stop);
      process.kill(pid(), 'SIGCONT');
      await call('wipe');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Variables for the script of an engine: free ports, TLS and logins, its data in `folder`. */
export async function engineEnvironment(
  kind: Kind,
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

/** First of the ports that up to three servers of an engine use: base … base + 6, base + 100 … base + 102. */
async function freeBase(): Promise<number> {
  for (;;) {
    const base = 21_000 + Math.floor(Math.random() * 10_000);
    const ports = [0, 1, 2, 3, 4, 5, 6, 100, 101, 102].map((offset) => base + offset);
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
