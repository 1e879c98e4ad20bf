import {
  Backoff,
  type Closable,
  type Metrics,
  MillraceError,
  sleep,
  systemRandom,
  toHex,
  within,
} from '@millrace/base';
import type kafkajs from 'kafkajs';
import { closed } from './appender.ts';
import { kafkaError } from './errors.ts';
import type { RawRecord } from './record.ts';

interface Waiter {
  readonly offset: bigint;
  resolve(): void;
  reject(error: unknown): void;
}

export interface ReaderOptions {
  readonly topic: string;
  /** Begin of the names of consumer groups. */
  readonly prefix: string;
  /** Called for each record once, in order. It must not throw. */
  readonly take: (record: RawRecord & { readonly offset: bigint; readonly time: number }) => void;
}

const FETCH_MS = 500;
/** A consumer that does not ask for records for this time is replaced, ms. It asks at least every `FETCH_MS`. */
const STALL_MS = 5_000;
const CHECK_MS = 500;
/**
 * A consumer that has not joined its group after this time is replaced, ms: the broker that coordinates the group may be
 * frozen, and another group has another coordinator. Doubled after each failure, since joining takes longer on busy
 * computers.
 */
const JOIN_MS = 5_000;
const MOST_JOIN_MS = 40_000;
/** After this time, the brokers take a member that is silent for dead, ms. Nobody waits for that. */
const SESSION_MS = 10_000;
const CLOSE_MS = 5_000;

/**
 * Reads a topic of one partition from its beginning, every record once and in order. A consumer that died or hangs is
 * replaced by a new one, which goes on where the last one was.
 */
export class Reader implements Closable {
  readonly #kafka: kafkajs.Kafka;
  readonly #options: ReaderOptions;
  readonly #restarted: () => void;
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  /** In the order of offsets. */
  #waiters: Waiter[] = [];
  #applied = -1n;
  #end = 0n;
  /** Why the last consumer ended. */
  #failure: unknown;
  #isCut = false;
  /** Whether the last consumer joined its group. */
  #joined = false;

  constructor(kafka: kafkajs.Kafka, options: ReaderOptions, metrics: Metrics) {
    this.#kafka = kafka;
    this.#options = options;
    const restarts = metrics.counter('millrace_queue_consumer_restarts_total', 'Kafka consumers that were replaced.');
    this.#restarted = () => restarts.add(1, { topic: options.topic });
    this.#running = this.#run();
  }

  /** Records that are in the topic and were not taken yet. */
  get lag(): number {
    return Math.max(0, Number(this.#end - this.#applied - 1n));
  }

  /**
   * Resolves when the record with this offset was taken.
   * @throws {MillraceError} E_UNAVAILABLE, E_CONFIG; E_TIMEOUT after `patienceMs`; E_STORE if the topic lost records
   */
  async reached(offset: bigint, patienceMs: number): Promise<void> {
    if (this.#isCut)
      throw new MillraceError('E_STORE', `Kafka: ${this.#options.topic} has lost records, or was made again`);
    if (offset <= this.#applied) return;
    this.#closing.signal.throwIfAborted();
    const reached = new Promise<true>((resolve, reject) => {
      const waiter = { offset, resolve: () => resolve(true), reject };
      const at = this.#waiters.findLastIndex((other) => other.offset <= offset);
      this.#waiters.splice(at + 1, 0, waiter);
    });
    if (await within(reached, patienceMs, this.#closing.signal)) return;
    this.#waiters = this.#waiters.filter((waiter) => waiter.offset !== offset);
    if (this.#failure !== undefined) throw kafkaError(this.#failure);
    throw new MillraceError('E_TIMEOUT', `Kafka: ${this.#options.topic} was not read in time`);
  }

  async close(): Promise<void> {
    this.#closing.abort(closed());
    await this.#running;
  }

  async #run(): Promise<void> {
    const backoff = new Backoff({ firstMs: 200, mostMs: 3_000 });
    const { signal } = this.#closing;
    let joinMs = JOIN_MS;
    for (let first = true; !signal.aborted; first = false) {
      if (!first) this.#restarted();
      const before = this.#applied;
      try {
        await this.#consume(joinMs);
      } catch (error) {
        this.#failure = error;
      }
      joinMs = this.#joined ? JOIN_MS : Math.min(2 * joinMs, MOST_JOIN_MS);
      if (this.#applied > before) backoff.reset();
      await sleep(backoff.next(), signal).catch(() => undefined); // closing
    }
  }

  /** Reads until the consumer fails or hangs, or the reader is closed. */
  async #consume(joinMs: number): Promise<void> {
    const { topic, prefix } = this.#options;
    // A group of its own: the reader needs no share, and a new group need not wait for a dead member.
    const consumer = this.#kafka.consumer({
      groupId: `${prefix}-${toHex(systemRandom(12))}`,
      allowAutoTopicCreation: false,
      sessionTimeout: SESSION_MS,
      rebalanceTimeout: SESSION_MS,
      heartbeatInterval: 2_000,
      maxWaitTimeInMs: FETCH_MS,
      retry: { retries: 1, restartOnFailure: async () => false },
    });
    const ended = new AbortController();
    let asked = performance.now();
    let current = true;
    consumer.on('consumer.fetch', () => {
      asked = performance.now();
    });
    consumer.on('consumer.crash', ({ payload }) => ended.abort(payload.error));
    const join = async (): Promise<true> => {
      await consumer.connect();
      await consumer.subscribe({ topics: [topic], fromBeginning: true });
      await consumer.run({
        autoCommit: false,
        eachBatch: async ({ batch }) => {
          if (current) this.#take(batch);
        },
      });
      return true;
    };
    const signal = AbortSignal.any([ended.signal, this.#closing.signal]);
    const joining = join();
    joining.catch(() => undefined); // awaited below
    try {
      this.#joined = false;
      if (!(await within(joining, joinMs, signal)))
        throw new MillraceError('E_UNAVAILABLE', `Kafka: the consumer of ${topic} does not join its group`);
      this.#joined = true;
      if (this.#applied >= 0n) consumer.seek({ topic, partition: 0, offset: String(this.#applied + 1n) });
      asked = performance.now();
      while (performance.now() - asked < STALL_MS) await sleep(CHECK_MS, signal);
      throw new MillraceError('E_UNAVAILABLE', `Kafka: the consumer of ${topic} hangs`);
    } finally {
      current = false;
      const left = this.#leave(consumer, joining);
      // A frozen broker does not let it go, and the next consumer need not wait for that.
      if (this.#closing.signal.aborted) await within(left, CLOSE_MS);
    }
  }

  /** Also if it joins only later. */
  async #leave(consumer: kafkajs.Consumer, joining: Promise<unknown>): Promise<void> {
    await consumer.disconnect().catch(() => undefined); // it is given up
    const joined = await joining.catch(() => undefined);
    if (joined !== undefined) await consumer.disconnect().catch(() => undefined);
  }

  #take(batch: kafkajs.Batch): void {
    this.#end = BigInt(batch.highWatermark);
    if (batch.messages.length > 0 && this.#end <= this.#applied) this.#isCut = true;
    for (const { offset: text, key, value, timestamp, headers } of batch.messages) {
      const offset = BigInt(text);
      if (offset <= this.#applied) continue;
      this.#options.take({ key, value, offset, time: Number(timestamp), ...(headers && { headers }) });
      this.#applied = offset;
    }
    this.#failure = undefined;
    while (this.#waiters[0] !== undefined && this.#waiters[0].offset <= this.#applied) this.#waiters.shift()?.resolve();
  }
}
