import type { Bytes } from '@millrace/base';
import type { Claimed, ClaimOptions } from '@millrace/stores';
import { claimMessages, type KeyQueue, type StoredMessage, TopicState } from '@millrace/stores/engine';
import type { QueueRecord } from './record.ts';

interface Waiting extends StoredMessage {
  readonly key: string;
  readonly record: string;
  readonly message: Bytes;
  done: boolean;
}

/** Messages of a key that were never delivered, in order; those before `first` have left. */
interface Fresh {
  messages: Waiting[];
  first: number;
  /** All messages of the key that wait. */
  waiting: number;
}

/**
 * What waits in a topic, as its records tell. It changes only by records, in their order, so that every process that
 * reads the topic comes to the same result. The same holds after compaction.
 */
export class WaitingMessages {
  readonly #state = new TopicState();
  readonly #byId = new Map<string, Waiting>();
  readonly #bySequence = new Map<bigint, Waiting>();
  readonly #keys = new Map<string, Fresh>();
  /** Ids of acknowledged messages, with the time of the acknowledgement, ms. */
  readonly #acknowledged = new Map<string, number>();
  /** Records of messages that are repetitions and were not removed yet. */
  readonly #repeated = new Set<string>();
  readonly #rememberMs: number;
  #bytes = 0;

  constructor(rememberMs: number) {
    this.#rememberMs = rememberMs;
  }

  get depth(): number {
    return this.#state.depth;
  }

  /** Sum of the lengths of the messages that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  get repeated(): readonly string[] {
    return [...this.#repeated];
  }

  /** Whether a publication with this id would be ignored. */
  knows(id: string, now: number): boolean {
    return this.#byId.has(id) || this.#remembers(id, now);
  }

  /** The record of a message that waits. */
  recordOf(id: string): string | undefined {
    return this.#byId.get(id)?.record;
  }

  /**
   * @param time of the record, ms: a repetition is judged by it, so that later readers judge alike
   * @returns whether it waits now; false if it is a repetition
   */
  add({ record, id, key, message }: QueueRecord & { kind: 'message' }, sequence: bigint, time: number): boolean {
    if (this.knows(id, time)) {
      if (this.#byId.get(id)?.record !== record) this.#repeated.add(record);
      return false;
    }
    const waiting: Waiting = { key, id, record, message, sequence, done: false };
    this.#byId.set(id, waiting);
    this.#bySequence.set(sequence, waiting);
    const fresh = this.#keys.get(key) ?? { messages: [], first: 0, waiting: 0 };
    fresh.messages.push(waiting);
    fresh.waiting++;
    this.#keys.set(key, fresh);
    this.#bytes += message.length;
    this.#state.load(key, sequence);
    return true;
  }

  /** @returns whether other consumers may now have more messages to claim */
  remove({ record, id, acknowledged }: QueueRecord & { kind: 'done' }, time: number): boolean {
    this.#repeated.delete(record);
    if (!acknowledged) return false;
    this.#remember(id, time);
    const waiting = this.#byId.get(id);
    if (waiting === undefined) return false;
    // After compaction, a repetition may have taken the place of the message.
    if (waiting.record !== record) this.#repeated.add(waiting.record);
    waiting.done = true;
    this.#byId.delete(id);
    this.#bySequence.delete(waiting.sequence);
    this.#bytes -= waiting.message.length;
    const fresh = this.#keys.get(waiting.key);
    if (fresh !== undefined && --fresh.waiting === 0) this.#keys.delete(waiting.key);
    else if (fresh !== undefined) trim(fresh, ({ done }) => done); // a process that never claims must not keep them
    return this.#state.acknowledge(waiting);
  }

  /** Only one claim may run at a time. */
  claim(options: ClaimOptions, now: () => number): Promise<Claimed[]> {
    return claimMessages(this.#state, options, now, (queue, limit) => this.#read(queue, limit));
  }

  release(id: string): void {
    this.#state.release(id);
  }

  #read(queue: KeyQueue, limit: number): Waiting[] {
    const again = queue.returned.slice(0, limit);
    const found = again.flatMap((sequence) => this.#bySequence.get(sequence) ?? []);
    const fresh = this.#keys.get(queue.key);
    if (fresh === undefined) return found;
    const { from } = this.#state.fresh(queue);
    trim(fresh, ({ done, sequence }) => done || sequence < from);
    for (let at = fresh.first; at < fresh.messages.length && found.length < limit; at++) {
      const message = fresh.messages[at];
      if (message !== undefined && !message.done) found.push(message);
    }
    return found;
  }

  #remembers(id: string, now: number): boolean {
    const time = this.#acknowledged.get(id);
    return time !== undefined && now <= time + this.#rememberMs;
  }

  /** Forgets late: whether an id is remembered depends on the times of records only. */
  #remember(id: string, time: number): void {
    const known = this.#acknowledged.get(id) ?? 0;
    this.#acknowledged.delete(id);
    this.#acknowledged.set(id, Math.max(known, time));
    for (const [oldest, at] of this.#acknowledged) {
      if (at + 2 * this.#rememberMs > time) return;
      this.#acknowledged.delete(oldest);
    }
  }
}

/** Removes the messages at the front that have left. */
function trim(fresh: Fresh, hasLeft: (message: Waiting) => boolean): void {
  const { messages } = fresh;
  for (let first = messages[fresh.first]; first !== undefined && hasLeft(first); first = messages[fresh.first])
    fresh.first++;
  if (fresh.first * 2 <= messages.length) return;
  fresh.messages = messages.slice(fresh.first);
  fresh.first = 0;
}
