import {
  type Clock,
  type Closable,
  isTransient,
  type Logger,
  type Metrics,
  MillraceError,
  retry,
  sleep,
} from '@millrace/base';
import cassandra from 'cassandra-driver';
import { cassandraError, isUnknownKeyspace, isUnknownTable } from './errors.ts';
import { InFlight } from './in-flight.ts';
import { Measure } from './measure.ts';
import { checkServerSettings } from './server-settings.ts';

/** A user of an engine, with a password. */
export interface Login {
  readonly user: string;
  readonly password: string;
}

/** TLS 1.2 or later, both ends verified. PEM. */
export interface EngineTls {
  /** Authorities that certify the servers. Nothing else is trusted. */
  readonly ca: string;
  /** Own certificate and key, if the servers require one. */
  readonly certificate?: string;
  readonly key?: string;
  /** Name that a server's certificate has to show. Default: the address that the server is connected by. */
  readonly serverName?: string;
}

export interface CassandraOptions {
  /** Addresses of some nodes: `host` or `host:port`. All nodes of a cluster listen on one port. Default 9042. */
  readonly contactPoints: readonly string[];
  readonly localDataCenter: string;
  /** 1 to 48 of a–z, 0–9 and _, first a letter. One for each node of an installation. */
  readonly keyspace: string;
  /** Copies of each row when the keyspace is made: 1 to 7, default 3. An existing keyspace keeps its own number. */
  readonly copies?: number;
  readonly login?: Login;
  /** Without it, the connection is neither secret nor authentic: for tests on one computer only. */
  readonly tls?: EngineTls;
  /** How long a call is repeated while the cluster does not answer, ms. Default 20,000. */
  readonly patienceMs?: number;
  /** Time for the answer to one request, ms. Default 6,000. */
  readonly requestMs?: number;
  /** Called before each request is sent, also before each repetition; throws if it may not be sent any more. */
  readonly guard?: (() => void) | undefined;
}

export type Value = Uint8Array | string | number | bigint | null;
export type Row = cassandra.types.Row;

/** Requests in flight; further ones wait. The driver fails above 2,048 a connection. */
const MOST_IN_FLIGHT = 512;
const REQUEST_MS = 6_000;
/** Longest time to connect to a server, ms. */
const CONNECT_MS = 3_000;
const PATIENCE_MS = 20_000;
/** Between attempts to connect to a server that is down, ms. */
const RECONNECT_MS = 1_000;
/** Time for the answer to a change of the schema, ms: three nodes need some seconds. */
const DEFINE_MS = 30_000;
/** Longest wait until all servers have a new schema, and time between two looks, ms. */
const AGREE_MS = 10_000;
const LOOK_MS = 50;
/** Time between two pings of a server while requests wait, and for its answer, ms. See `#ping`. */
const PING_MS = 1_000;
const PONG_MS = 2_000;
/** Time for a server to say which schema it has, ms. */
const VERSION_MS = 1_000;
/** Time for a server to tell its settings, ms. */
const SETTINGS_MS = 3_000;
const SETTINGS = 'SELECT name, value FROM system_views.settings';
const SCHEMA_VERSION = "SELECT schema_version FROM system.local WHERE key = 'local'";
const DEFAULT_PORT = 9_042;
const KEYSPACE = /^[a-z][a-z0-9_]{0,47}$/;
const { consistencies } = cassandra.types;

/** What `send` reads and writes at. A conditional write decides at SERIAL and is committed at QUORUM. */
export type Level = 'quorum' | 'serial';

interface SendOptions {
  readonly level?: Level;
  readonly prepare?: boolean;
  /** Asks this node. */
  readonly host?: cassandra.Host;
  /** Time for the answer, ms. */
  readonly answerMs?: number;
}

/** A connection to one keyspace of a cluster. Every method throws MillraceError (see `cassandraError`). */
export class Session implements Closable {
  readonly patienceMs: number;
  readonly keyspace: string;
  readonly #client: cassandra.Client;
  readonly #inFlight = new InFlight(MOST_IN_FLIGHT);
  readonly #guard: () => void;
  readonly #measure: Measure;
  readonly #pings: NodeJS.Timeout;
  #open = true;

  private constructor(
    client: cassandra.Client,
    { keyspace, patienceMs = PATIENCE_MS, guard }: CassandraOptions,
    measure: Measure,
  ) {
    this.keyspace = keyspace;
    this.#measure = measure;
    this.#client = client;
    this.patienceMs = patienceMs;
    this.#guard = guard ?? (() => undefined);
    this.#pings = setInterval(() => this.#ping(), PING_MS).unref();
  }

  /**
   * Connects, and makes the keyspace if it is missing.
   * @throws {MillraceError} E_CONFIG if the login is refused, or if the cluster would keep dropped tables or lose
   * acknowledged writes
   */
  static async open(
    options: CassandraOptions,
    modules: { readonly clock: Clock; readonly metrics: Metrics; readonly logger: Logger },
  ): Promise<Session> {
    const { keyspace } = options;
    if (!KEYSPACE.test(keyspace)) throw new MillraceError('E_CONFIG', `${keyspace} is not a name of a keyspace`);
    const session = new Session(new cassandra.Client(clientOptions(options)), options, new Measure(modules));
    try {
      await session.#connect();
      await session.#checkSettings(modules.logger);
      await session.#makeKeyspace(keyspace, options);
      // A server may list a keyspace, and state the new schema, a moment before it knows it.
      await retry(() => session.send(`USE ${keyspace}`, [], { prepare: false }), {
        forMs: AGREE_MS,
        firstMs: LOOK_MS,
        when: isUnknownKeyspace,
      });
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /** One attempt. @throws {MillraceError} E_TIMEOUT if a write may have been applied or may be applied later */
  async send(
    statement: string,
    values: readonly Value[] = [],
    { level = 'quorum', prepare = true, host, answerMs }: SendOptions = {},
  ): Promise<Row[]> {
    this.#check();
    this.#measure.waiting(this.#inFlight.waiting);
    return this.#inFlight.run(async () => {
      this.#check();
      this.#guard();
      const options = {
        prepare,
        consistency: level === 'serial' ? consistencies.serial : consistencies.quorum,
        serialConsistency: consistencies.serial,
        fetchSize: 5_000,
        ...(host && { host }),
        ...(answerMs !== undefined && { readTimeout: answerMs }),
      };
      const result = await this.#measure.request(level, () =>
        this.#client.execute(statement, values.map(parameter), options),
      );
      return result.rows ?? [];
    });
  }

  /** Repeats a read, or a write that may be repeated, while the cluster does not answer. */
  async run(statement: string, values: readonly Value[] = [], options: SendOptions = {}): Promise<Row[]> {
    return retry(() => this.send(statement, values, options), {
      forMs: this.patienceMs,
      firstMs: 50,
      mostMs: 1_000,
      when: (error) => this.#open && isTransient(error) && !isUnknownTable(error),
    });
  }

  /** Reads a result of any length, a page at a time. */
  async *scan(statement: string): AsyncGenerator<Row> {
    let pageState: string | undefined;
    do {
      const page = await retry(
        () => {
          this.#check();
          const at = pageState === undefined ? {} : { pageState };
          return this.#measure.request('quorum', () =>
            this.#client.execute(statement, [], { prepare: true, consistency: consistencies.quorum, ...at }),
          );
        },
        { forMs: this.patienceMs, firstMs: 50, mostMs: 1_000, when: (error) => this.#open && isTransient(error) },
      );
      yield* page.rows;
      pageState = page.pageState ?? undefined;
    } while (pageState !== undefined);
  }

  /**
   * Changes the schema, by a statement that may be repeated, and waits until all servers that answer have it, at most
   * 10 s.
   */
  async define(statement: string): Promise<void> {
    await retry(() => this.send(statement, [], { prepare: false, answerMs: DEFINE_MS }), {
      forMs: this.patienceMs,
      when: (error) => this.#open && isTransient(error),
    });
    await this.#agree();
  }

  async #agree(): Promise<void> {
    for (const end = performance.now() + AGREE_MS; performance.now() < end; await sleep(LOOK_MS))
      if (!this.#open || (await this.#schemaVersions()).size <= 1) return;
  }

  /** Versions of the schema at the servers that answer. What others say of a server that is down is out of date. */
  async #schemaVersions(): Promise<Set<string>> {
    const up = [...this.#client.hosts.values()].filter((host) => host.isUp());
    const versions = await Promise.all(
      up.map(async (host) => {
        try {
          const [row] = await this.send(SCHEMA_VERSION, [], { prepare: false, host, answerMs: VERSION_MS });
          return String(row?.schema_version);
        } catch {
          return undefined; // it is down, or will soon be left
        }
      }),
    );
    return new Set(versions.filter((version) => version !== undefined));
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    clearInterval(this.#pings);
    await this.#client.shutdown().catch(() => undefined); // closing what is already closed
  }

  #check(): void {
    if (!this.#open) throw new MillraceError('E_STORE', 'the store is closed');
  }

  /**
   * Finds out which servers answer nothing, such as a frozen one. The driver closes a connection with two late answers,
   * and what waited for them is repeated at another server. By itself it would wait for two requests (12 s), and without
   * end for PREPARE, which it sends to all servers and does not count.
   */
  #ping(): void {
    const { hosts } = this.#client;
    if (!this.#open || this.#inFlight.running === 0 || hosts.length < 2) return;
    for (const host of hosts.values().filter((each) => each.isUp()))
      this.#client.execute(SCHEMA_VERSION, [], { host, readTimeout: PONG_MS }).catch(() => undefined);
  }

  async #connect(): Promise<void> {
    try {
      await this.#client.connect();
    } catch (error) {
      throw cassandraError(error);
    }
  }

  /** Checks every server that answers: one that is lost must not delay a start. */
  async #checkSettings(logger: Logger): Promise<void> {
    const hosts = this.#client.hosts.values().filter((host) => host.isUp());
    const ask = (host: cassandra.Host) =>
      hosts.length === 1
        ? this.run(SETTINGS, [], { prepare: false })
        : this.send(SETTINGS, [], { prepare: false, host, answerMs: SETTINGS_MS });
    const answers = await Promise.allSettled(hosts.map(ask));
    const isAnswered = answers.some(({ status }) => status === 'fulfilled');
    for (const [i, answer] of answers.entries()) {
      const address = hosts[i]?.address ?? '';
      if (answer.status === 'fulfilled') {
        const settings = new Map(answer.value.map((row) => [String(row.name), String(row.value)]));
        for (const text of checkServerSettings(address, settings, this.#client.hosts.length)) logger.warn(text);
      } else if (!isAnswered || !isTransient(answer.reason)) throw answer.reason;
    }
  }

  async #makeKeyspace(keyspace: string, { localDataCenter, copies = 3 }: CassandraOptions): Promise<void> {
    const known = await this.run('SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?', [
      keyspace,
    ]);
    // Another node may have made it a moment ago, at another server.
    if (known.length > 0) return this.#agree();
    if (!Number.isInteger(copies) || copies < 1 || copies > 7)
      throw new MillraceError('E_CONFIG', `a keyspace has 1 to 7 copies, not ${copies}`);
    const dataCenter = localDataCenter.replaceAll("'", "''");
    const replication = `{'class': 'NetworkTopologyStrategy', '${dataCenter}': ${copies}}`;
    await this.define(`CREATE KEYSPACE IF NOT EXISTS ${keyspace} WITH replication = ${replication}`);
  }
}

/** The driver takes Buffers only. */
function parameter(value: Value): unknown {
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.length) : value;
}

/** The port on which the servers of a cluster listen. */
function portOf(contactPoints: readonly string[]): number {
  const ports = contactPoints.map((point) => Number(/^(?:[^:]+|\[.*\]):(\d+)$/.exec(point)?.[1] ?? DEFAULT_PORT));
  const [port = DEFAULT_PORT] = ports;
  if (ports.every((each) => each === port)) return port;
  throw new MillraceError('E_CONFIG', `the servers of a Cassandra cluster listen on one port, not ${ports.join(', ')}`);
}

function clientOptions(options: CassandraOptions): cassandra.ClientOptions {
  const { contactPoints, localDataCenter, login, tls, requestMs = REQUEST_MS } = options;
  return {
    contactPoints: [...contactPoints],
    localDataCenter,
    ...(login && { authProvider: new cassandra.auth.PlainTextAuthProvider(login.user, login.password) }),
    // The driver's own default accepts any certificate.
    ...(tls && {
      sslOptions: {
        ca: tls.ca,
        rejectUnauthorized: true,
        minVersion: 'TLSv1.2',
        ...(tls.certificate !== undefined && { cert: tls.certificate, key: tls.key }),
        ...(tls.serverName !== undefined && { servername: tls.serverName }),
      },
    }),
    // `define` waits itself: the driver would also wait for servers that are down, 10 s for each change. The driver
    // connects to servers that it learns of on this port.
    protocolOptions: { maxSchemaAgreementWaitSeconds: 0, port: portOf(contactPoints) },
    encoding: { useBigIntAsLong: true, copyBuffer: true },
    // A frozen server accepts requests and answers none. Its connection is closed after two, and opened again each second.
    socketOptions: { readTimeout: requestMs, connectTimeout: CONNECT_MS, defunctReadTimeoutThreshold: 1 },
    policies: {
      retry: new cassandra.policies.retry.FallthroughRetryPolicy(),
      reconnection: new cassandra.policies.reconnection.ConstantReconnectionPolicy(RECONNECT_MS),
    },
  };
}
