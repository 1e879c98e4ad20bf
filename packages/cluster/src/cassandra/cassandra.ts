import {
  type Clock,
  type Closable,
  type Logger,
  type Metrics,
  noMetrics,
  silentLogger,
  systemClock,
} from '@millrace/base';
import type { Cells, Log, RecordStore } from '@millrace/stores';
import { CassandraCells } from './cells.ts';
import { CassandraLog } from './log.ts';
import { Parts } from './parts.ts';
import { CassandraRecords } from './records.ts';
import { dropTables, migrate } from './schema.ts';
import { type CassandraOptions, Session } from './session.ts';

/** Ports by name, in one keyspace. The same name returns the same object. */
export interface Cassandra extends Closable {
  records(name: string): RecordStore;
  log(name: string): Log;
  cells(name: string): Cells;
  /** Drops all tables of the keyspace that this program has made. No port may be used afterwards. */
  erase(): Promise<void>;
}

export interface CassandraModules {
  readonly clock?: Clock;
  readonly metrics?: Metrics;
  /** Warned of settings of the servers that should be changed. */
  readonly logger?: Logger;
}

/**
 * Connects to a cluster, makes the keyspace if it is missing, and brings its schema up to date.
 * @throws {MillraceError} E_CONFIG, E_UNAVAILABLE, E_TIMEOUT
 */
export async function openCassandra(
  options: CassandraOptions,
  { clock = systemClock, metrics = noMetrics, logger = silentLogger }: CassandraModules = {},
): Promise<Cassandra> {
  const session = await Session.open(options, { clock, metrics, logger });
  try {
    await migrate(session);
  } catch (error) {
    await session.close();
    throw error;
  }
  const parts = new Parts(session);
  const records = new Map<string, RecordStore>();
  const logs = new Map<string, Log>();
  const cells = new Map<string, Cells>();
  return {
    records: (name) => memo(records, name, () => new CassandraRecords(session, name, clock)),
    log: (name) => memo(logs, name, () => new CassandraLog(session, name, parts)),
    cells: (name) => memo(cells, name, () => new CassandraCells(session, name, parts)),
    erase: () => dropTables(session),
    async close() {
      for (const store of [...records.values(), ...logs.values(), ...cells.values()]) await store.close();
      await session.close();
    },
  };
}

function memo<T>(map: Map<string, T>, name: string, make: () => T): T {
  const made = map.get(name) ?? make();
  map.set(name, made);
  return made;
}
