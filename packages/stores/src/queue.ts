import { type Bytes, type Clock, concatBytes, copyBytes, MillraceError, Mutex, u64be, utf8 } from '@millrace/base';
import { prefixRange } from './keys.ts';
import type { Claimed, ClaimOptions, Queue, Store, Write } from './port.ts';

export interface StoreQueueOptions {
  readonly clock: Clock;
  /** How long an acknowledged id is remembered, so that a repeated publication is ignored. Default one hour. */
  readonly rememberMs?: number;
}

interface Lease {
  until: number;
  attempts: number;
}

interface Topic {
  nextSequence: bigint;
  /** Assigned sequence numbers that are not durable yet. Messages above the lowest of them cannot be claimed. */
  readonly underWay: Set<bigint>;
  /** Publications in progress, by id: a repeated one waits for the first. */
  readonly publishing: Map<string, Promise<void>>;
  readonly leases: Map<string, Lease>;
  /** Serializes acknowledgements, so that an id is never scheduled twice for removal. */
  readonly acknowledging: Mutex;
  depth: number;
}

const DEFAULT_REMEMBER_MS = 3_600_000;
/**
 * Expired ids that one acknowledgement removes, in addition to as many as it adds. Bounds its cost, and removes more
 * than are added.
 */
const PRUNE_LIMIT = 64;

/**
 * A queue on a store of its own. Keys are topic length (1), topic, a letter and the rest: `m` sequence[8] → id length
 * (1), id, message; `i` id → `w` sequence[8] while it waits, `a` when it is acknowledged; `t` time[8] id → empty, by
 * which acknowledged ids are forgotten.
 *
 * One process owns the queue. Leases are in its memory, so messages that a crashed process had claimed are redelivered
 * at once.
 */
export class StoreQueue implements Queue {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #rememberMs: number;
  readonly #topics = new Map<string, Promise<Topic>>();
  readonly #listeners = new Map<string, Set<() => void>>();
  #open = true;

  constructor(store: Store, options: StoreQueueOptions) {
    this.#store = store;
    this.#clock = options.clock;
    this.#rememberMs = options.rememberMs ?? DEFAULT_REMEMBER_MS;
  }

  async publish(topic: string, id: string, message: Uint8Array): Promise<void> {
    const keys = this.#keys(topic);
    const idKey = keys.id(id);
    const state = await this.#topic(topic);
    const first = state.publishing.get(id);
    if (first !== undefined) return first;
    const publication = this.#publish(state, keys, id, idKey, message).finally(() => state.publishing.delete(id));
    state.publishing.set(id, publication);
    await publication;
    this.#wake(topic);
  }

  async claim(topic: string, options: ClaimOptions): Promise<Claimed[]> {
    const keys = this.#keys(topic);
    const state = await this.#topic(topic);
    const claimed: Claimed[] = [];
    let bytes = 0;
    const barrier = lowest(state.underWay);
    if (options.limit < 1) return claimed;
    for await (const { key, value } of this.#store.range(prefixRange(keys.messages))) {
      if (barrier !== undefined && sequenceOf(key) >= barrier) break;
      const { id, message } = decode(value);
      const lease = state.leases.get(id);
      const now = this.#clock.now();
      if (lease !== undefined && lease.until > now) continue;
      bytes += message.length;
      if (claimed.length > 0 && bytes > (options.maxBytes ?? Number.POSITIVE_INFINITY)) break;
      const attempts = (lease?.attempts ?? 0) + 1;
      state.leases.set(id, { until: now + options.leaseMs, attempts });
      claimed.push({ id, message, attempts });
      if (claimed.length >= options.limit) break;
    }
    return claimed;
  }

  async acknowledge(topic: string, ids: readonly string[]): Promise<void> {
    const state = await this.#topic(topic);
    await state.acknowledging.run(() => this.#acknowledge(state, this.#keys(topic), ids));
  }

  async #acknowledge(state: Topic, keys: TopicKeys, ids: readonly string[]): Promise<void> {
    const now = this.#clock.now();
    const writes: Write[] = [];
    let removed = 0;
    for (const id of new Set(ids)) {
      const waiting = await this.#store.get(keys.id(id));
      if (waiting?.[0] !== WAITING) continue;
      removed++;
      writes.push(
        { delete: concatBytes(keys.messages, waiting.subarray(1)) },
        { put: keys.id(id), value: Uint8Array.of(ACKNOWLEDGED) },
        { put: keys.forget(now + this.#rememberMs, id), value: new Uint8Array() },
      );
    }
    if (writes.length === 0) return;
    for await (const { key } of this.#store.range({
      ...prefixRange(keys.times),
      lt: keys.forget(now, ''),
      limit: PRUNE_LIMIT + removed,
    })) {
      writes.push({ delete: key }, { delete: keys.id(new TextDecoder().decode(key.subarray(keys.times.length + 8))) });
    }
    await this.#store.batch(writes);
    state.depth -= removed;
    for (const id of ids) state.leases.delete(id);
  }

  async release(topic: string, ids: readonly string[]): Promise<void> {
    const state = await this.#topic(topic);
    for (const id of ids) {
      const lease = state.leases.get(id);
      if (lease !== undefined) lease.until = Number.NEGATIVE_INFINITY;
    }
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
    this.#open = false;
    this.#listeners.clear();
  }

  async #publish(state: Topic, keys: TopicKeys, id: string, idKey: Uint8Array, message: Uint8Array): Promise<void> {
    const sequence = state.nextSequence++;
    state.underWay.add(sequence);
    try {
      if (await this.#store.has(idKey)) return;
      await this.#store.batch([
        { put: concatBytes(keys.messages, u64be(sequence)), value: encode(id, message) },
        { put: idKey, value: concatBytes(Uint8Array.of(WAITING), u64be(sequence)) },
      ]);
      state.depth++;
    } finally {
      state.underWay.delete(sequence);
    }
  }

  #topic(topic: string): Promise<Topic> {
    this.#checkOpen();
    const known = this.#topics.get(topic) ?? this.#load(topic);
    this.#topics.set(topic, known);
    known.catch(() => this.#topics.delete(topic));
    return known;
  }

  async #load(topic: string): Promise<Topic> {
    let nextSequence = 0n;
    let depth = 0;
    for await (const { key } of this.#store.range(prefixRange(this.#keys(topic).messages))) {
      nextSequence = sequenceOf(key) + 1n;
      depth++;
    }
    const acknowledging = new Mutex();
    return { nextSequence, depth, acknowledging, underWay: new Set(), publishing: new Map(), leases: new Map() };
  }

  #keys(topic: string): TopicKeys {
    return new TopicKeys(topic);
  }

  #wake(topic: string): void {
    for (const listener of [...(this.#listeners.get(topic) ?? [])]) listener();
  }

  #checkOpen(): void {
    if (!this.#open) throw new MillraceError('E_STORE', 'the queue is closed');
  }
}

const WAITING = 0x77;
const ACKNOWLEDGED = 0x61;

class TopicKeys {
  readonly messages: Bytes;
  readonly times: Bytes;
  readonly #ids: Bytes;

  constructor(topic: string) {
    const name = checkedText(topic, 100, 'a topic');
    const prefix = concatBytes(Uint8Array.of(name.length), name);
    this.messages = concatBytes(prefix, utf8('m'));
    this.times = concatBytes(prefix, utf8('t'));
    this.#ids = concatBytes(prefix, utf8('i'));
  }

  id(id: string): Bytes {
    return concatBytes(this.#ids, checkedText(id, 200, 'a message id'));
  }

  forget(time: number, id: string): Bytes {
    return concatBytes(this.times, u64be(BigInt(Math.max(0, Math.trunc(time)))), utf8(id));
  }
}

function checkedText(text: string, max: number, what: string): Bytes {
  const bytes = utf8(text);
  if (bytes.length < 1 || bytes.length > max) {
    throw new MillraceError('E_INPUT', `${what} has 1 to ${max} bytes of UTF-8, not ${bytes.length}`);
  }
  return bytes;
}

function encode(id: string, message: Uint8Array): Bytes {
  const name = utf8(id);
  return concatBytes(Uint8Array.of(name.length), name, message);
}

function decode(value: Uint8Array): { id: string; message: Bytes } {
  const start = 1 + (value[0] ?? 0);
  return { id: new TextDecoder().decode(value.subarray(1, start)), message: copyBytes(value.subarray(start)) };
}

function sequenceOf(key: Uint8Array): bigint {
  return new DataView(key.buffer, key.byteOffset + key.length - 8, 8).getBigUint64(0);
}

function lowest(values: Iterable<bigint>): bigint | undefined {
  let low: bigint | undefined;
  for (const value of values) if (low === undefined || value < low) low = value;
  return low;
}
