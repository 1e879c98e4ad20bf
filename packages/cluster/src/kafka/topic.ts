import { type Clock, type Closable, type Metrics, MillraceError, Mutex, systemRandom, toHex } from '@millrace/base';
import type { Claimed, ClaimOptions } from '@millrace/stores';
import type kafkajs from 'kafkajs';
import type { Appender } from './appender.ts';
import { Reader } from './reader.ts';
import {
  acknowledgedRecord,
  decodeRecord,
  markRecord,
  messageRecord,
  type RawRecord,
  repeatedRecord,
} from './record.ts';
import { MOST_BYTES } from './topics.ts';
import { WaitingMessages } from './waiting.ts';

export interface TopicOptions {
  /** Kafka's name. */
  readonly name: string;
  readonly prefix: string;
  readonly rememberMs: number;
  /** Most bytes that wait. */
  readonly mostBytes: number;
  readonly patienceMs: number;
  /** Messages delivered so often are dead letters. */
  readonly deadAfter: number;
  /** Called when a message may have become claimable. */
  readonly wake: () => void;
  /** Keeps a record that cannot be delivered. */
  readonly bury: (record: RawRecord, reason: string) => Promise<void>;
}

interface Modules {
  readonly kafka: kafkajs.Kafka;
  readonly appender: Appender;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

/** Most tokens of other processes that are kept to recognize repeated records. */
const TOKENS = 64;
/** Most records of others that are kept until this process is the owner. */
const FOREIGN = 100;

/**
 * One topic of a queue. Its state is what its records tell: a call appends a record and waits until the reader has taken
 * it. One process at a time delivers, the one whose `owner` record is the last.
 */
export class KafkaTopic implements Closable {
  readonly #options: TopicOptions;
  readonly #appender: Appender;
  readonly #clock: Clock;
  readonly #reader: Reader;
  readonly #waiting: WaitingMessages;
  readonly #claiming = new Mutex();
  readonly #token = toHex(systemRandom(16));
  readonly #tokens = new Set<string>();
  #foreign: RawRecord[] = [];
  readonly #depth: (value: number) => void;
  #publishing = 0;
  #owning: Promise<void> | undefined;
  #state: 'following' | 'owner' | 'fenced' = 'following';

  private constructor(options: TopicOptions, { kafka, appender, clock, metrics }: Modules) {
    this.#options = options;
    this.#appender = appender;
    this.#clock = clock;
    this.#waiting = new WaitingMessages(options.rememberMs);
    const topic = options.name;
    const depth = metrics.gauge('millrace_queue_depth', 'Messages that wait in a topic of Kafka.');
    const lag = metrics.gauge('millrace_queue_lag', 'Records of a topic of Kafka that this process has not read yet.');
    this.#depth = (value) => {
      depth.set(value, { topic });
      lag.set(this.#reader.lag, { topic });
    };
    const take = (record: RawRecord & { offset: bigint; time: number }) => this.#take(record);
    this.#reader = new Reader(kafka, { topic, prefix: options.prefix, take }, metrics);
  }

  /** Reads what is in the topic. @throws as `Appender.append` */
  static async open(options: TopicOptions, modules: Modules): Promise<KafkaTopic> {
    const topic = new KafkaTopic(options, modules);
    try {
      await topic.#append(() => markRecord('start', topic.#token));
      return topic;
    } catch (error) {
      await topic.close();
      throw error;
    }
  }

  get depth(): number {
    return this.#waiting.depth;
  }

  async publish(key: string, id: string, message: Uint8Array): Promise<void> {
    this.#checkOwner();
    if (message.length > MOST_BYTES)
      throw new MillraceError('E_TOO_LARGE', `a message has at most ${MOST_BYTES} bytes, not ${message.length}`);
    if (this.#waiting.knows(id, this.#clock.now())) return;
    const { mostBytes, name } = this.#options;
    if (this.#waiting.bytes + this.#publishing + message.length > mostBytes)
      throw new MillraceError('E_UNAVAILABLE', `more than ${mostBytes} bytes wait in ${name}: try again later`);
    this.#publishing += message.length;
    try {
      await this.#append(() => messageRecord(key, id, message));
    } finally {
      this.#publishing -= message.length;
    }
  }

  async claim(options: ClaimOptions): Promise<Claimed[]> {
    this.#owning ??= this.#own();
    await this.#owning;
    return this.#claiming.run(async () => {
      this.#checkOwner();
      const claimed = await this.#waiting.claim(options, () => this.#clock.now());
      const dead = claimed.filter(({ attempts }) => attempts > this.#options.deadAfter);
      if (dead.length === 0) return claimed;
      for (const { key, id, message, attempts } of dead)
        await this.#options.bury(messageRecord(key, id, message), `delivered ${attempts - 1} times`);
      await this.acknowledge(dead.map(({ id }) => id));
      return claimed.filter(({ attempts }) => attempts <= this.#options.deadAfter);
    });
  }

  async acknowledge(ids: readonly string[]): Promise<void> {
    this.#checkOwner();
    const records = [...new Set(ids)].flatMap((id) => this.#waiting.recordOf(id) ?? []);
    await Promise.all(records.map((record) => this.#append(() => acknowledgedRecord(record))));
  }

  release(ids: readonly string[]): void {
    for (const id of ids) this.#waiting.release(id);
  }

  async close(): Promise<void> {
    await this.#reader.close();
  }

  /** @throws {MillraceError} E_FENCED if another process delivers the messages since */
  #checkOwner(): void {
    if (this.#state !== 'fenced') return;
    const { name } = this.#options;
    throw new MillraceError('E_FENCED', `another process delivers the messages of ${name}`);
  }

  async #own(): Promise<void> {
    try {
      await this.#append(() => markRecord('owner', this.#token));
    } catch (error) {
      this.#owning = undefined;
      throw error;
    }
  }

  async #append(make: () => RawRecord): Promise<void> {
    const { name, patienceMs } = this.#options;
    const offset = await this.#appender.append(name, this.#clock.now(), make);
    await this.#reader.reached(offset, patienceMs);
    this.#checkOwner();
  }

  #take({ offset, time, ...raw }: RawRecord & { offset: bigint; time: number }): void {
    const record = decodeRecord(raw);
    switch (record?.kind) {
      case 'message':
        if (this.#waiting.add(record, offset, time)) this.#options.wake();
        else this.#removeRepeated([record.record]);
        break;
      case 'done':
        if (this.#waiting.remove(record, time)) this.#options.wake();
        break;
      case 'owner':
        this.#takeOwner(record.token);
        break;
      case undefined:
        this.#takeForeign(raw);
        break;
    }
    this.#depth(this.#waiting.depth);
  }

  #takeOwner(token: string): void {
    if (this.#tokens.has(token)) return; // a repeated record of a process that was the owner
    this.#tokens.add(token);
    for (const oldest of this.#tokens) if (this.#tokens.size > TOKENS) this.#tokens.delete(oldest);
    if (token === this.#token) {
      this.#state = 'owner';
      this.#removeRepeated(this.#waiting.repeated);
      this.#removeForeign();
    } else if (this.#state === 'owner') {
      this.#state = 'fenced';
      this.#options.wake(); // so that who waits for messages learns of it
    }
  }

  /** If it fails, the next owner does it. */
  #removeRepeated(records: readonly string[]): void {
    if (this.#state !== 'owner') return;
    for (const record of records) void this.#append(() => repeatedRecord(record)).catch(() => undefined);
  }

  /** Records that no queue has written go to the dead letters. */
  #takeForeign(raw: RawRecord): void {
    if (raw.value === null) return;
    if (this.#foreign.length < FOREIGN) this.#foreign.push(raw);
    this.#removeForeign();
  }

  /** If it fails, they stay in the topic. */
  #removeForeign(): void {
    if (this.#state !== 'owner') return;
    for (const raw of this.#foreign.splice(0))
      void this.#options
        .bury(raw, 'not a record of a queue')
        .then(() => (raw.key === null ? undefined : this.#append(() => ({ key: raw.key, value: null }))))
        .catch(() => undefined);
  }
}
