import { type Clock, type Closable, Closer, type Metrics, noMetrics, systemClock } from '@millrace/base';
import type { Claimed, ClaimOptions, Queue } from '@millrace/stores';
import { checkQueueNames } from '@millrace/stores/engine';
import type kafkajs from 'kafkajs';
import { Appender, closed } from './appender.ts';
import { type KafkaOptions, kafkaClient, REQUEST_MS } from './client.ts';
import { kafkaError } from './errors.ts';
import type { RawRecord } from './record.ts';
import { KafkaTopic } from './topic.ts';
import { deadTopicName, deleteTopics, makeDeadTopic, makeTopic, topicName, topicsOf } from './topics.ts';

export interface KafkaQueueOptions extends KafkaOptions {
  /** How long an acknowledged id is remembered, ms. Default one hour. */
  readonly rememberMs?: number;
  /** Most bytes that wait in a topic: they are in memory. `publish` then throws E_UNAVAILABLE. Default 256 MiB. */
  readonly mostBytes?: number;
  /** A message that was delivered so often goes to the dead letters instead. Default: never. */
  readonly deadAfter?: number;
}

/** Time for the answer to one batch, ms. After it, another broker may lead the topic. */
const APPEND_MS = 3_000;
const PATIENCE_MS = 20_000;
const REMEMBER_MS = 3_600_000;
const WAITING_BYTES = 256 * 1024 * 1024;
const COPIES = 3;

/**
 * Connects to the brokers. The queue's topics are made when they are first used.
 * @throws {MillraceError} E_CONFIG, E_UNAVAILABLE, E_TIMEOUT
 */
export async function openKafkaQueue(
  options: KafkaQueueOptions,
  modules: { readonly clock?: Clock; readonly metrics?: Metrics } = {},
): Promise<Queue> {
  const { clock = systemClock, metrics = noMetrics } = modules;
  const kafka = kafkaClient(options);
  const admin = kafka.admin();
  const queue = new KafkaQueue(kafka, admin, options, clock, metrics);
  const { copies = COPIES, patienceMs = PATIENCE_MS } = options;
  try {
    await admin.connect();
    await makeDeadTopic(admin, deadTopicName(options.prefix), { copies, patienceMs });
    return queue;
  } catch (error) {
    await queue.close();
    throw kafkaError(error);
  }
}

/** Whether any topic of the prefix exists. @throws {MillraceError} E_CONFIG, E_UNAVAILABLE, E_TIMEOUT */
export function hasKafkaTopics(options: KafkaOptions): Promise<boolean> {
  return withAdmin(options, async (admin) => (await topicsOf(admin, options.prefix)).length > 0);
}

/**
 * Deletes all topics of the prefix. No process uses them, or may do so afterwards.
 * @throws {MillraceError} E_CONFIG, also without the permission Delete; E_UNAVAILABLE, E_TIMEOUT
 */
export function eraseKafkaTopics(options: KafkaOptions): Promise<void> {
  return withAdmin(options, (admin) => deleteTopics(admin, options.prefix));
}

async function withAdmin<T>(options: KafkaOptions, work: (admin: kafkajs.Admin) => Promise<T>): Promise<T> {
  const admin = kafkaClient(options).admin();
  try {
    await admin.connect();
    return await work(admin);
  } catch (error) {
    throw kafkaError(error);
  } finally {
    await admin.disconnect().catch(() => undefined); // it has nothing to lose
  }
}

/**
 * A queue in Kafka (docs/adr/0085). Every process may publish; the one that claimed last delivers, and the others get
 * E_FENCED as soon as they have read so: open the queue again to take over.
 */
class KafkaQueue implements Queue {
  readonly #kafka: kafkajs.Kafka;
  readonly #admin: kafkajs.Admin;
  readonly #options: KafkaQueueOptions;
  readonly #clock: Clock;
  readonly #metrics: Metrics;
  readonly #appender: Appender;
  readonly #topics = new Map<string, Promise<KafkaTopic>>();
  readonly #listeners = new Map<string, Set<() => void>>();
  readonly #patienceMs: number;
  readonly #closing = new AbortController();

  constructor(kafka: kafkajs.Kafka, admin: kafkajs.Admin, options: KafkaQueueOptions, clock: Clock, metrics: Metrics) {
    this.#kafka = kafka;
    this.#admin = admin;
    this.#options = options;
    this.#clock = clock;
    this.#metrics = metrics;
    const { patienceMs = PATIENCE_MS } = options;
    const requestMs = Math.min(options.requestMs ?? REQUEST_MS, APPEND_MS);
    this.#patienceMs = patienceMs;
    this.#appender = new Appender(kafkaClient({ ...options, requestMs }), { patienceMs, requestMs }, metrics);
  }

  async publish(topic: string, key: string, id: string, message: Uint8Array): Promise<void> {
    checkQueueNames({ topic, key, id });
    await (await this.#topic(topic)).publish(key, id, message);
  }

  async claim(topic: string, options: ClaimOptions): Promise<Claimed[]> {
    return (await this.#topic(topic)).claim(options);
  }

  async acknowledge(topic: string, ids: readonly string[]): Promise<void> {
    await (await this.#topic(topic)).acknowledge(ids);
  }

  async release(topic: string, ids: readonly string[]): Promise<void> {
    (await this.#topic(topic)).release(ids);
    this.#wake(topic);
  }

  async depth(topic: string): Promise<number> {
    return (await this.#topic(topic)).depth;
  }

  onPublish(topic: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(closed());
    this.#listeners.clear();
    const closer = new Closer();
    closer.add({ close: () => this.#admin.disconnect().catch(() => undefined) }); // it has nothing to lose
    closer.add(this.#appender);
    for (const topic of this.#topics.values()) {
      const opened: Closable = { close: async () => (await topic.catch(() => undefined))?.close() };
      closer.add(opened);
    }
    await closer.close();
  }

  #topic(topic: string): Promise<KafkaTopic> {
    if (this.#closing.signal.aborted) return Promise.reject(closed());
    const known = this.#topics.get(topic);
    if (known !== undefined) return known;
    const opening = this.#openTopic(topic);
    this.#topics.set(topic, opening);
    opening.catch(() => this.#topics.delete(topic));
    return opening;
  }

  async #openTopic(topic: string): Promise<KafkaTopic> {
    checkQueueNames({ topic });
    const { prefix, copies = COPIES, rememberMs = REMEMBER_MS } = this.#options;
    const { mostBytes = WAITING_BYTES, deadAfter = Number.POSITIVE_INFINITY } = this.#options;
    const name = topicName(prefix, topic);
    const { signal } = this.#closing;
    await makeTopic(this.#admin, name, { copies, rememberMs, patienceMs: this.#patienceMs, signal });
    signal.throwIfAborted();
    return KafkaTopic.open(
      {
        name,
        prefix,
        rememberMs,
        mostBytes,
        deadAfter,
        patienceMs: this.#patienceMs,
        wake: () => this.#wake(topic),
        bury: (record, reason) => this.#bury(topic, record, reason),
      },
      { kafka: this.#kafka, appender: this.#appender, clock: this.#clock, metrics: this.#metrics },
    );
  }

  async #bury(topic: string, { key, value }: RawRecord, reason: string): Promise<void> {
    const { prefix } = this.#options;
    const headers = { topic, reason };
    await this.#appender.append(deadTopicName(prefix), this.#clock.now(), () => ({ key, value, headers }));
    this.#metrics
      .counter('millrace_queue_dead_letters_total', 'Messages that could not be delivered.')
      .add(1, { topic: topicName(prefix, topic) });
  }

  #wake(topic: string): void {
    for (const listener of [...(this.#listeners.get(topic) ?? [])]) listener();
  }
}
