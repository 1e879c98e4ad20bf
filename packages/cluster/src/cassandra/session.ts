import { type Clock, type Closable, isTransient, type Metrics, MillraceError, retry, sleep } from '@millrace/base';
import cassandra from 'cassandra-driver';
import { cassandraError, isUnknownTable } from './errors.ts';
import { InFlight } from './in-flight.ts';
import { Measure } from './measure.ts';

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
  /** Addresses of some nodes: `host` or `host:port`. */
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
const PATIENCE_MS = 20_000;
/** Between attempts to connect to a server that is down, ms. */
const RECONNECT_MS = 1_000;
/** Time for the answer to a change of the schema, ms: three nodes need some seconds. */
const DEFINE_MS = 30_000;
/** Longest wait until all servers have a new schema, and time between two looks, ms. */
const AGREE_MS = 10_000;
const LOOK_MS = 50;
/** Time for a server to say which schema it has, ms. */
const VERSION_MS = 1_000;
const SCHEMA_VERSION = "SELECT schema_version FROM system.local WHERE key = 'local'";
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
  }

  /**
   * Connects, and makes the keyspace if it is missing.
   * @throws {MillraceError} E_CONFIG if the login is refused, or if the cluster would keep dropped tables or lose
   * acknowledged writes
   */
  static async open(
    options: CassandraOptions,
    modules: { readonly clock: Clock; readonly metrics: Metrics },
  ): Promise<Session> {
    const { keyspace } = options;
    if (!KEYSPACE.test(keyspace)) throw new MillraceError('E_CONFIG', `${keyspace} is not a name of a keyspace`);
    const session = new Session(new cassandra.Client(clientOptions(options)), options, new Measure(modules));
    try {
      await session.#connect();
      await session.#checkSettings();
      await session.#makeKeyspace(keyspace, options);
      await session.send(`USE ${keyspace}`, [], { prepare: false });
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
    await this.#client.shutdown().catch(() => undefined); // closing what is already closed
  }

  #check(): void {
    if (!this.#open) throw new MillraceError('E_STORE', 'the store is closed');
  }

  async #connect(): Promise<void> {
    try {
      await this.#client.connect();
    } catch (error) {
      throw cassandraError(error);
    }
  }

  /** Settings of every node that would break what the stores promise. */
  async #checkSettings(): Promise<void> {
    for (const host of this.#client.hosts.values()) {
      if (!host.isUp()) continue;
      const rows = await this.run('SELECT name, value FROM system_views.settings', [], { host });
      const settings = new Map(rows.map((row) => [String(row.name), String(row.value)]));
      for (const name of ['auto_snapshot', 'incremental_backups', 'snapshot_before_compaction'])
        if (settings.get(name) !== 'false')
          throw refused(host, `${name} is on: it keeps cells of expired epochs. Set ${name}: false`);
      if (!['batch', 'group'].includes(settings.get('commitlog_sync') ?? ''))
        throw refused(host, 'commitlog_sync is periodic: a power failure loses acknowledged writes. Set it to group');
    }
  }

  async #makeKeyspace(keyspace: string, { localDataCenter, copies = 3 }: CassandraOptions): Promise<void> {
    const known = await this.run('SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?', [
      keyspace,
    ]);
    if (known.length > 0) return;
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

function refused(host: cassandra.Host, text: string): MillraceError {
  return new MillraceError('E_CONFIG', `Cassandra at ${host.address}: ${text} in cassandra.yaml`);
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
    // `define` waits itself: the driver would also wait for servers that are down, 10 s for each change.
    protocolOptions: { maxSchemaAgreementWaitSeconds: 0 },
    encoding: { useBigIntAsLong: true, copyBuffer: true },
    // A frozen server accepts requests and answers none. It is left after the second one, and asked again each second.
    socketOptions: { readTimeout: requestMs, connectTimeout: requestMs, defunctReadTimeoutThreshold: 1 },
    policies: {
      retry: new cassandra.policies.retry.FallthroughRetryPolicy(),
      reconnection: new cassandra.policies.reconnection.ConstantReconnectionPolicy(RECONNECT_MS),
    },
  };
}
