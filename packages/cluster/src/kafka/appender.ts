import { Batcher, type Closable, isTransient, type Metrics, MillraceError, retry } from '@millrace/base';
import type kafkajs from 'kafkajs';
import { kafkaError } from './errors.ts';
import type { RawRecord } from './record.ts';

/** Makes the record for one attempt: a repeated attempt needs a new nonce. */
type MakeRecord = () => RawRecord;

interface Item {
  readonly make: MakeRecord;
  readonly time: number;
  /** Set when it is stored. */
  offset: bigint | undefined;
}

export interface AppenderOptions {
  readonly patienceMs: number;
  readonly requestMs: number;
}

const MOST_RECORDS = 500;
const BATCH_BYTES = 1024 * 1024;
/** A producer that was refused so often in a row is replaced by a new one. */
const FAILURES = 3;

/**
 * Appends to topics of one partition with acknowledgements from all copies in sync. One batch of a topic is in flight
 * at a time, so records are in the order of the calls.
 */
export class Appender implements Closable {
  readonly #make: () => kafkajs.Producer;
  readonly #options: AppenderOptions;
  readonly #replaced: () => void;
  readonly #topics = new Map<string, Batcher<Item>>();
  readonly #closing = new AbortController();
  #producer: Promise<kafkajs.Producer> | undefined;
  #failures = 0;

  constructor(kafka: kafkajs.Kafka, options: AppenderOptions, metrics: Metrics) {
    this.#options = options;
    const counter = metrics.counter('millrace_queue_producers_replaced_total', 'Kafka producers that were replaced.');
    this.#replaced = () => counter.add();
    this.#make = () =>
      kafka.producer({
        allowAutoTopicCreation: false,
        idempotent: false,
        maxInFlightRequests: 8,
        retry: { retries: 0 },
      });
  }

  /**
   * Durable when it resolves. After an error the record may be stored, even later.
   * @param time of the record, ms
   * @returns the offset of the record
   * @throws {MillraceError} E_TIMEOUT, E_UNAVAILABLE, E_TOO_LARGE, E_CONFIG
   */
  async append(topic: string, time: number, make: MakeRecord): Promise<bigint> {
    const batcher = this.#topics.get(topic) ?? new Batcher<Item>(MOST_RECORDS, (items) => this.#write(topic, items));
    this.#topics.set(topic, batcher);
    const item: Item = { make, time, offset: undefined };
    await batcher.add(item);
    if (item.offset === undefined) throw new MillraceError('E_STORE', `Kafka: no offset of a record of ${topic}`);
    return item.offset;
  }

  async close(): Promise<void> {
    this.#closing.abort(closed());
    await this.#drop();
  }

  async #write(topic: string, items: readonly Item[]): Promise<void> {
    let rest = [...items];
    await retry(
      async () => {
        while (rest.length > 0) rest = await this.#send(topic, rest);
      },
      {
        forMs: this.#options.patienceMs,
        firstMs: 50,
        mostMs: 1_000,
        signal: this.#closing.signal,
        when: isTransient,
      },
    );
  }

  /** @returns the items that did not fit into the batch */
  async #send(topic: string, items: readonly Item[]): Promise<Item[]> {
    const messages: kafkajs.Message[] = [];
    let bytes = 0;
    for (const { make, time } of items) {
      const { key, value, headers } = make();
      bytes += (key?.length ?? 0) + (value?.length ?? 0);
      if (messages.length > 0 && bytes > BATCH_BYTES) break;
      messages.push({
        key: bufferOf(key),
        value: bufferOf(value),
        timestamp: String(time),
        partition: 0,
        ...(headers && { headers: headers as kafkajs.IHeaders }),
      });
    }
    const connected = this.#connected();
    try {
      const producer = await connected;
      const [stored] = await producer.send({ topic, messages, acks: -1, timeout: this.#options.requestMs });
      if (stored?.baseOffset === undefined) throw new MillraceError('E_STORE', `Kafka: ${topic} told no offset`);
      for (const [i, item] of items.slice(0, messages.length).entries())
        item.offset = BigInt(stored.baseOffset) + BigInt(i);
      this.#failures = 0;
      return items.slice(messages.length);
    } catch (error) {
      const failure = kafkaError(error);
      if (connected === this.#producer) this.#failed(failure);
      throw failure;
    }
  }

  /** After a refusal, a producer asks who leads the topic; after silence, it would ask the same broker again. */
  #failed({ code }: MillraceError): void {
    if (code !== 'E_TIMEOUT' && ++this.#failures < FAILURES) return;
    this.#failures = 0;
    this.#replaced();
    void this.#drop();
  }

  #connected(): Promise<kafkajs.Producer> {
    this.#closing.signal.throwIfAborted();
    this.#producer ??= this.#connect();
    return this.#producer;
  }

  async #connect(): Promise<kafkajs.Producer> {
    const producer = this.#make();
    try {
      await producer.connect();
      return producer;
    } catch (error) {
      this.#producer = undefined;
      void producer.disconnect().catch(() => undefined);
      throw kafkaError(error);
    }
  }

  async #drop(): Promise<void> {
    const producer = this.#producer;
    this.#producer = undefined;
    await producer?.then((connected) => connected.disconnect()).catch(() => undefined); // it is given up
  }
}

export function closed(): MillraceError {
  return new MillraceError('E_STORE', 'the queue is closed');
}

function bufferOf(bytes: Uint8Array | null): Buffer | null {
  return bytes && Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
