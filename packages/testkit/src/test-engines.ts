import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Closable, Closer } from '@millrace/base';
import kafkajs from 'kafkajs';
import { z } from 'zod';
import { cassandraClient } from './cassandra-client.ts';
import { type Engine, startEngine } from './engines.ts';

// With MILLRACE_TEST_STATE=cluster, test installations keep their state in Cassandra and their mail in Kafka. All share one
// server of each; every installation has keyspaces and topics of its own.

/** Environment variable with the servers, for the processes of vitest. */
const VARIABLE = 'MILLRACE_TEST_ENGINES';
const serverSchema = z.object({ host: z.string(), port: z.number(), user: z.string(), password: z.string() });
const serversSchema = z.object({ cassandra: serverSchema, kafka: serverSchema, ca: z.string() });
type Servers = z.output<typeof serversSchema>;

/** Global set-up of vitest: starts Cassandra and Kafka. @returns the end of both */
export default async function startTestEngines(): Promise<() => Promise<void>> {
  const engines = await openTestEngines();
  if (typeof engines === 'string') throw new Error(engines);
  return async () => engines.close();
}

/** Starts Cassandra and Kafka for `createTestCluster`. @returns why not, if something is not installed */
export async function openTestEngines(): Promise<Closable | string> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-engines-'));
  const closer = new Closer();
  closer.add({ close: () => rm(folder, { recursive: true, force: true }) });
  const servers = { ca: folder } as Servers;
  for (const kind of ['cassandra', 'kafka'] as const) {
    const engine = await startEngine(kind);
    if (typeof engine === 'string') {
      await closer.close();
      return engine;
    }
    closer.add(engine);
    await writeFile(join(folder, `${kind}.pem`), engine.ca);
    servers[kind] = serverOf(engine);
  }
  process.env[VARIABLE] = JSON.stringify(servers);
  return closer;
}

const serverOf = ({ host, port, user, password }: Engine) => ({ host, port, user, password });

/** Nodes whose state is in Cassandra. */
export const inCassandra = ['control', 'segments', 'keys'] as const;

export interface TestCluster {
  /** Fields for the settings of the nodes. */
  readonly settings: Readonly<Record<(typeof inCassandra)[number], Readonly<Record<string, unknown>>>>;
  /** Drops keyspaces and topics. */
  close(): Promise<void>;
}

/** A place in the servers for one installation; undefined if tests use files. @param folder for passwords */
export async function createTestCluster(folder: string): Promise<TestCluster | undefined> {
  const text = process.env[VARIABLE];
  if (text === undefined) return undefined;
  const { cassandra, kafka, ca } = serversSchema.parse(JSON.parse(text));
  await mkdir(folder, { recursive: true });
  const login = async ({ user, password }: Servers['kafka']) => {
    const passwordFile = join(folder, user);
    await writeFile(passwordFile, password, { mode: 0o600 });
    return { user, passwordFile };
  };
  const name = `t${randomBytes(6).toString('hex')}`;
  const fieldsOf = async (role: string) => ({
    contactPoints: [`${cassandra.host}:${cassandra.port}`],
    localDataCenter: 'datacenter1',
    keyspace: `${name}_${role}`,
    copies: 1,
    login: await login(cassandra),
    tls: { authority: join(ca, 'cassandra.pem') },
  });
  const mail = {
    brokers: [`${kafka.host}:${kafka.port}`],
    prefix: name,
    copies: 1,
    login: await login(kafka),
    tls: { authority: join(ca, 'kafka.pem') },
  };
  return {
    settings: {
      control: { cluster: { ...(await fieldsOf('control')), kafka: mail } },
      segments: { cluster: await fieldsOf('segments') },
      keys: { cluster: await fieldsOf('keys') },
    },
    close: async () => {
      await dropKeyspaces(
        cassandra,
        join(ca, 'cassandra.pem'),
        inCassandra.map((role) => `${name}_${role}`),
      );
      await dropTopics(kafka, join(ca, 'kafka.pem'), `${name}`);
    },
  };
}

async function dropKeyspaces(server: Servers['cassandra'], ca: string, names: readonly string[]): Promise<void> {
  const client = cassandraClient({ ...server, ca: await readFile(ca, 'utf8') }, [server]);
  try {
    for (const name of names) await client.execute(`DROP KEYSPACE IF EXISTS ${name}`);
  } finally {
    await client.shutdown();
  }
}

async function dropTopics(server: Servers['kafka'], ca: string, prefix: string): Promise<void> {
  const sasl = { mechanism: 'scram-sha-512', username: server.user, password: server.password } as const;
  const ssl = { ca: await readFile(ca) };
  const admin = new kafkajs.Kafka({
    ...{ brokers: [`${server.host}:${server.port}`], ssl, sasl, logLevel: kafkajs.logLevel.NOTHING },
  }).admin();
  await admin.connect();
  try {
    const topics = (await admin.listTopics()).filter((topic) => topic.startsWith(prefix));
    if (topics.length > 0) await admin.deleteTopics({ topics });
  } finally {
    await admin.disconnect();
  }
}
