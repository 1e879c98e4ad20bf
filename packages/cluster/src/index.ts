export { type Cassandra, type CassandraModules, openCassandra } from './cassandra/cassandra.ts';
export type { CassandraOptions, EngineTls, Login } from './cassandra/session.ts';
export type { KafkaOptions } from './kafka/client.ts';
export { eraseKafkaTopics, hasKafkaTopics, type KafkaQueueOptions, openKafkaQueue } from './kafka/queue.ts';
