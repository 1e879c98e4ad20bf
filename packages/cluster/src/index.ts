export { type Cassandra, openCassandra } from './cassandra/cassandra.ts';
export type { CassandraOptions, EngineTls, Login } from './cassandra/session.ts';
