import { type Clock, MillraceError, Mutex } from '@millrace/base';
import type { TransactionalStore, Write } from './port.ts';
import type { Claimed, ClaimOptions, Queue } from './queue.ts';
import { claimMessages } from './queue-claim.ts';
import {
  decodeMessage,
  decodePosition,
  encodeMessage,
  encodePosition,
  type StoredMessage,
  TopicKeys,
} from './queue-keys.ts';
import { type KeyQueue, TopicState } from './queue-topic.ts';

export interface QueueOptions {
  readonly clock: Clock;
  /** How long an acknowledged id is remembered, so that a repeated publication is ignored. Default one hour. */
  readonly rememberMs?: number;
}

/** An open topic. */
interface Topic {
  readonly keys: TopicKeys;
  readonly state: TopicState;
  /** Publications in progress, by id. A repeated publication waits for the first. */
  readonly publishing: Map<string, Promise<void>>;
  readonly claiming: Mutex;
  /** Serializes acknowledgements, so that an id is never scheduled twice for removal. */
  readonly acknowledging: Mutex;
}

const DEFAULT_REMEMBER_MS = 3_600_000;
/**
 * Maximum number of expired ids that one acknowledgement removes, in addition to the number that it adds. It bounds the
 * cost and still removes more ids than are added.
 */
const PRUNE_LIMIT = 64;

/** What a queue needs of an ordered map. */
export type QueueMap = Pick<TransactionalStore, 'get' | 'getMany' | 'has' | 'batch' | 'range' | 'keys'>;

/**
 * A queue in one ordered map, owned by one process. Leases are in memory, so messages claimed by a crashed process are
 * redelivered at once. The keys of a topic's messages are read once, when it is first used.
 */
export class MapQueue implements Queue {
  readonly #map: QueueMap;
  readonly #clock: Clock;
  readonly #rememberMs: number;
  readonly #topics = new Map<string, Promise<Topic>>();
  readonly #listeners = new Map<string, Set<() => void>>();
  #open = true;

  constructor(map: QueueMap, options: QueueOptions) {
    this.#map = map;
    this.#clock = options.clock;
    this.#rememberMs = options.rememberMs ?? DEFAULT_REMEMBER_MS;
  }

  async publish(topic: string, key: string, id: string, message: Uint8Array): Promise<void> {
    const opened = await this.#topic(topic);
    const { keys, publishing } = opened;
    keys.check(key, id);
    const first = publishing.get(id);
    if (first !== undefined) return first;
    const publication = this.#publish(opened, key, id, message).finally(() => publishing.delete(id));
    publishing.set(id, publication);
    await publication;
    this.#wake(topic);
  }

  async claim(topic: string, options: ClaimOptions): Promise<Claimed[]> {
    const opened = await this.#topic(topic);
    if (options.limit < 1) return [];
    const { keys, state, claiming } = opened;
    return claiming.run(() =>
      claimMessages(
        state,
        options,
        () => this.#clock.now(),
        (queue, limit) => this.#read(keys, state, queue, limit),
      ),
    );
  }

  async acknowledge(topic: string, ids: readonly string[]): Promise<void> {
    const opened = await this.#topic(topic);
    const freed = await opened.acknowledging.run(() => this.#acknowledge(opened, ids));
    if (freed) this.#wake(topic);
  }

  async release(topic: string, ids: readonly string[]): Promise<void> {
    const { state } = await this.#topic(topic);
    for (const id of ids) state.release(id);
    this.#wake(topic);
  }

  async depth(topic: string): Promise<number> {
    return (await this.#topic(topic)).state.depth;
  }

  onPublish(topic: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#open = false;
    this.#listeners.clear();
  }

  async #publish({ keys, state }: Topic, key: string, id: string, message: Uint8Array): Promise<void> {
    const sequence = state.beginPublish(key);
    let stored = false;
    try {
      if (await this.#map.has(keys.id(id))) return;
      await this.#map.batch([
        { put: keys.message(key, sequence), value: encodeMessage(id, message) },
        { put: keys.id(id), value: encodePosition({ key, sequence }) },
      ]);
      stored = true;
    } finally {
      state.endPublish(key, sequence, stored);
    }
  }

  /** Messages of a key that a claim may deliver, in order. */
  async #read(keys: TopicKeys, state: TopicState, queue: KeyQueue, limit: number): Promise<StoredMessage[]> {
    const found: StoredMessage[] = [];
    const again = queue.returned.slice(0, limit);
    const values = await this.#map.getMany(again.map((sequence) => keys.message(queue.key, sequence)));
    for (const [i, sequence] of again.entries()) {
      const value = values[i];
      if (value === undefined) state.forget(queue, sequence);
      else found.push(decodeMessage(sequence, value));
    }
    if (found.length === limit) return found;
    const { from, to } = state.fresh(queue);
    const range = { gte: keys.message(queue.key, from), lt: keys.message(queue.key, to), limit: limit - found.length };
    for await (const { key, value } of this.#map.range(range))
      found.push(decodeMessage(keys.position(key).sequence, value));
    return found;
  }

  /** @returns whether other consumers may now have more messages to claim */
  async #acknowledge({ keys, state }: Topic, ids: readonly string[]): Promise<boolean> {
    const now = this.#clock.now();
    const writes: Write[] = [];
    const removed = [];
    for (const id of new Set(ids)) {
      const position = state.delivered(id) ?? decodePosition(await this.#map.get(keys.id(id)));
      if (position === undefined) continue;
      removed.push(position);
      writes.push(
        { delete: keys.message(position.key, position.sequence) },
        { put: keys.id(id), value: keys.acknowledged },
        { put: keys.forgetAt(now + this.#rememberMs, id), value: new Uint8Array() },
      );
    }
    if (writes.length === 0) return false;
    const forgotten = { ...keys.forgottenBy(now), limit: PRUNE_LIMIT + removed.length };
    for await (const { key } of this.#map.range(forgotten))
      writes.push({ delete: key }, { delete: keys.id(keys.forgottenId(key)) });
    await this.#map.batch(writes);
    let freed = false;
    for (const position of removed) freed = state.acknowledge(position) || freed;
    return freed;
  }

  #topic(topic: string): Promise<Topic> {
    if (!this.#open) return Promise.reject(new MillraceError('E_STORE', 'the queue is closed'));
    const known = this.#topics.get(topic) ?? this.#load(topic);
    this.#topics.set(topic, known);
    known.catch(() => this.#topics.delete(topic));
    return known;
  }

  async #load(topic: string): Promise<Topic> {
    const keys = new TopicKeys(topic);
    const state = new TopicState();
    for await (const key of this.#map.keys(keys.messages)) {
      const position = keys.position(key);
      state.load(position.key, position.sequence);
    }
    return { keys, state, publishing: new Map(), claiming: new Mutex(), acknowledging: new Mutex() };
  }

  #wake(topic: string): void {
    for (const listener of [...(this.#listeners.get(topic) ?? [])]) listener();
  }
}
