import { MillraceError, retry, sleep, toBase64 } from '@millrace/base';
import kafkajs from 'kafkajs';
import { kafkaError } from './errors.ts';

const PLAIN = /^[a-z0-9][a-z0-9-]*$/;
/** Longest message of a queue, bytes. */
export const MOST_BYTES = 16 * 1024 * 1024;
/** Room for key, id and the frame of a batch, bytes. */
const FRAME_BYTES = 64 * 1024;
const DEAD_MS = 14 * 86_400_000;
const DELETE_MS = 30_000;

/** Kafka's name of a queue's topic. Different topics have different names. */
export function topicName(prefix: string, topic: string): string {
  if (PLAIN.test(topic)) return `${prefix}.${topic}`;
  const text = toBase64(new TextEncoder().encode(topic));
  return `${prefix}._${text.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')}`;
}

/** Where letters are put that cannot be delivered. Not the name of a queue's topic. */
export function deadTopicName(prefix: string): string {
  return `${prefix}.dead_letters`;
}

export interface MakeTopicOptions {
  readonly copies: number;
  /** How long it is tried: a broker may not know a new topic yet, ms. */
  readonly patienceMs: number;
  readonly signal?: AbortSignal;
}

/**
 * Makes a topic of a queue if it is missing, and checks it.
 * @param options with `rememberMs`: how long acknowledgements have to stay in the topic
 * @throws {MillraceError} E_CONFIG if the topic would lose messages or their order; E_UNAVAILABLE, E_TIMEOUT
 */
export function makeTopic(
  admin: kafkajs.Admin,
  topic: string,
  { rememberMs, ...options }: MakeTopicOptions & { readonly rememberMs: number },
): Promise<void> {
  return make(admin, topic, options, {
    'cleanup.policy': 'compact',
    'delete.retention.ms': String(2 * rememberMs + 3_600_000),
    // A record is read back before it can be removed, and is gone some ten minutes after it was acknowledged.
    'min.compaction.lag.ms': '120000',
    'max.compaction.lag.ms': '600000',
    'segment.ms': '300000',
    'segment.bytes': String(64 * 1024 * 1024),
    'min.cleanable.dirty.ratio': '0.2',
    'max.message.bytes': String(MOST_BYTES + FRAME_BYTES),
  });
}

/** Makes the topic of dead letters. @throws as `makeTopic` */
export function makeDeadTopic(admin: kafkajs.Admin, topic: string, options: MakeTopicOptions): Promise<void> {
  return make(admin, topic, options, {
    'cleanup.policy': 'delete',
    'retention.ms': String(DEAD_MS),
    'max.message.bytes': String(MOST_BYTES + 2 * FRAME_BYTES),
  });
}

/** Names of the topics of a prefix. @throws {MillraceError} E_CONFIG, E_UNAVAILABLE, E_TIMEOUT */
export async function topicsOf(admin: kafkajs.Admin, prefix: string): Promise<string[]> {
  try {
    return (await admin.listTopics()).filter((topic) => topic.startsWith(`${prefix}.`));
  } catch (error) {
    throw kafkaError(error);
  }
}

/**
 * Deletes every topic of a prefix, with all messages and what is remembered of acknowledged ones. Needs the permission
 * Delete. Resolves when the cluster no longer lists the topics.
 * @throws {MillraceError} E_CONFIG if it is not permitted; E_UNAVAILABLE, E_TIMEOUT
 */
export async function deleteTopics(admin: kafkajs.Admin, prefix: string): Promise<void> {
  try {
    for (const end = performance.now() + DELETE_MS; ; ) {
      const topics = await topicsOf(admin, prefix);
      if (topics.length === 0) return;
      if (performance.now() > end) throw new MillraceError('E_TIMEOUT', `Kafka: topics of ${prefix} are not deleted`);
      await admin.deleteTopics({ topics, timeout: 10_000 }).catch((error: unknown) => {
        // Another broker may still list a topic that is deleted.
        if ((error as { type?: string }).type !== 'UNKNOWN_TOPIC_OR_PARTITION') throw error;
      });
      await sleep(100);
    }
  } catch (error) {
    throw kafkaError(error);
  }
}

function make(
  admin: kafkajs.Admin,
  topic: string,
  { copies, patienceMs, signal }: MakeTopicOptions,
  settings: Readonly<Record<string, string>>,
): Promise<void> {
  return retry(() => makeOnce(admin, topic, copies, settings), {
    ...{ forMs: patienceMs, firstMs: 100, mostMs: 1_000 },
    ...(signal && { signal }),
  });
}

async function makeOnce(
  admin: kafkajs.Admin,
  topic: string,
  copies: number,
  settings: Readonly<Record<string, string>>,
): Promise<void> {
  const durable = {
    'min.insync.replicas': String(copies > 2 ? 2 : 1),
    'unclean.leader.election.enable': 'false',
    // With one copy, only the disk keeps what was acknowledged.
    ...(copies === 1 && { 'flush.messages': '1' }),
  };
  const configEntries = Object.entries({ ...settings, ...durable }).map(([name, value]) => ({ name, value }));
  try {
    const wanted = { topic, numPartitions: 1, replicationFactor: copies, configEntries };
    if (await admin.createTopics({ topics: [wanted], timeout: 10_000 })) return;
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    const partitions = topics[0]?.partitions.length;
    if (partitions !== 1) throw refused(topic, `has ${partitions} partitions, not one`);
    const resource = { type: kafkajs.ConfigResourceTypes.TOPIC, name: topic };
    const { resources } = await admin.describeConfigs({ resources: [resource], includeSynonyms: false });
    const entries = new Map(
      resources[0]?.configEntries.map(({ configName, configValue }) => [configName, configValue]),
    );
    for (const name of ['cleanup.policy', 'unclean.leader.election.enable'])
      if (entries.get(name) !== configEntries.find((entry) => entry.name === name)?.value)
        throw refused(topic, `has ${name}=${entries.get(name)}`);
  } catch (error) {
    throw kafkaError(error);
  }
}

function refused(topic: string, what: string): MillraceError {
  return new MillraceError('E_CONFIG', `Kafka: topic ${topic} ${what}: it would lose messages or their order`);
}
