import { LinkedList, type ListEntry } from './linked-list.ts';
import type { StoredMessage } from './queue-keys.ts';

/** A message that was delivered and not acknowledged. */
interface Delivered {
  readonly queue: KeyQueue;
  readonly sequence: bigint;
  readonly id: string;
  attempts: number;
  lease: { readonly list: LeaseList; readonly entry: ListEntry<Delivered>; readonly until: number } | undefined;
}

/** Leases of one duration, in the order in which they end. */
interface LeaseList {
  readonly leases: LinkedList<Delivered>;
}

/** Keys with claimable messages, in the order of their turns. */
interface Line {
  readonly queues: LinkedList<KeyQueue>;
  /** Consumer that holds these keys; undefined if no consumer does. */
  readonly holder: string | undefined;
}

/** Messages that wait under one key. */
export class KeyQueue {
  readonly key: string;
  /** Number of messages that are durable and not acknowledged. */
  waiting = 0;
  /** Delivered messages by sequence number. */
  readonly delivered = new Map<bigint, Delivered>();
  /** Sequence numbers of delivered messages whose lease has ended, ascending. */
  readonly returned: bigint[] = [];
  leased = 0;
  /** The consumer that holds the leases. */
  holder: string | undefined;
  /** First sequence number that was never delivered. */
  next = 0n;
  /** Sequence numbers that are not durable yet. Nothing above the lowest is claimable. */
  readonly publishing = new Set<bigint>();
  place: { readonly line: Line; readonly entry: ListEntry<KeyQueue>; readonly turn: number } | undefined;

  constructor(key: string) {
    this.key = key;
  }

  get hasMore(): boolean {
    return this.returned.length > 0 || this.waiting > this.delivered.size;
  }
}

/** Decides which messages of a topic each consumer may get. Every method is synchronous and reads no store. */
export class TopicState {
  nextSequence = 0n;
  depth = 0;
  readonly #queues = new Map<string, KeyQueue>();
  readonly #delivered = new Map<string, Delivered>();
  readonly #leases = new Map<number, LeaseList>();
  readonly #free: Line = { queues: new LinkedList(), holder: undefined };
  /** Keys held by each consumer. */
  readonly #held = new Map<string, Line>();
  #turns = 0;
  /** Sequence numbers acknowledged since the current claim began. */
  #acknowledged: Set<bigint> | undefined;

  /** Adds a message that was durable when the queue was opened. */
  load(key: string, sequence: bigint): void {
    if (sequence >= this.nextSequence) this.nextSequence = sequence + 1n;
    const queue = this.#queue(key);
    queue.waiting++;
    this.depth++;
    this.#offer(queue);
  }

  /** Assigns the next sequence number of the topic to a message of the key. */
  beginPublish(key: string): bigint {
    const sequence = this.nextSequence++;
    this.#queue(key).publishing.add(sequence);
    return sequence;
  }

  /** @param stored whether the message is durable; if not, its sequence number stays unused */
  endPublish(key: string, sequence: bigint, stored: boolean): void {
    const queue = this.#queue(key);
    queue.publishing.delete(sequence);
    if (stored) {
      queue.waiting++;
      this.depth++;
    }
    this.#offer(queue);
    this.#drop(queue);
  }

  /** Starts a claim. Only one may run at a time. */
  beginClaim(now: number): void {
    this.#acknowledged = new Set();
    for (const [length, { leases }] of this.#leases) {
      for (let first = leases.first; first !== undefined && hasEnded(first, now); first = leases.first)
        this.#endLease(first);
      if (leases.first === undefined) this.#leases.delete(length);
    }
  }

  endClaim(): void {
    this.#acknowledged = undefined;
  }

  /** The key whose turn it is, among those that the consumer holds and those that no consumer holds. */
  turnOf(consumer: string): KeyQueue | undefined {
    const [free, held] = [this.#free.queues.first, this.#held.get(consumer)?.queues.first];
    if (free === undefined || held === undefined) return free ?? held;
    return (free.place?.turn ?? 0) < (held.place?.turn ?? 0) ? free : held;
  }

  /** Range of the key's claimable messages that were never delivered: from `from` to below `to`. */
  fresh({ next, publishing }: KeyQueue): { from: bigint; to: bigint } {
    let to = this.nextSequence;
    for (const sequence of publishing) if (sequence < to) to = sequence;
    return { from: next, to };
  }

  /** @returns the number of this delivery; undefined if the message was acknowledged since the claim began */
  lease(
    queue: KeyQueue,
    { sequence, id }: StoredMessage,
    { consumer, leaseMs }: { consumer: string; leaseMs: number },
    now: number,
  ): number | undefined {
    if (sequence >= queue.next) queue.next = sequence + 1n;
    if (this.#acknowledged?.has(sequence)) return undefined;
    let delivered = queue.delivered.get(sequence);
    if (delivered === undefined) {
      delivered = { queue, sequence, id, attempts: 0, lease: undefined };
      queue.delivered.set(sequence, delivered);
      this.#delivered.set(id, delivered);
    } else this.forget(queue, sequence);
    const list = this.#leases.get(leaseMs) ?? { leases: new LinkedList() };
    this.#leases.set(leaseMs, list);
    delivered.lease = { list, entry: list.leases.add(delivered), until: now + leaseMs };
    queue.leased++;
    queue.holder = consumer;
    return ++delivered.attempts;
  }

  /** Removes a message from `returned`: it was acknowledged or is delivered again. */
  forget({ returned }: KeyQueue, sequence: bigint): void {
    const at = placeIn(returned, sequence);
    if (returned[at] === sequence) returned.splice(at, 1);
  }

  /** Ends the turn of the key. @param again whether it may have claimable messages left */
  hadTurn(queue: KeyQueue, again: boolean): void {
    this.#leave(queue);
    if (again) this.#offer(queue);
  }

  /** Position of a delivered message, without reading the store. */
  delivered(id: string): { key: string; sequence: bigint } | undefined {
    const delivered = this.#delivered.get(id);
    return delivered && { key: delivered.queue.key, sequence: delivered.sequence };
  }

  /** @returns whether other consumers may now be able to claim from the key */
  acknowledge({ key, sequence }: { key: string; sequence: bigint }): boolean {
    this.#acknowledged?.add(sequence);
    const queue = this.#queue(key);
    const delivered = queue.delivered.get(sequence);
    const wasHeld = queue.holder !== undefined;
    if (delivered !== undefined) {
      this.#takeLease(delivered);
      this.forget(queue, sequence);
      queue.delivered.delete(sequence);
      this.#delivered.delete(delivered.id);
    }
    queue.waiting--;
    this.depth--;
    this.#offer(queue);
    this.#drop(queue);
    return wasHeld && queue.holder === undefined && queue.hasMore;
  }

  release(id: string): void {
    const delivered = this.#delivered.get(id);
    if (delivered?.lease !== undefined) this.#endLease(delivered);
  }

  #queue(key: string): KeyQueue {
    const queue = this.#queues.get(key) ?? new KeyQueue(key);
    this.#queues.set(key, queue);
    return queue;
  }

  /** Removes a key without messages. */
  #drop(queue: KeyQueue): void {
    if (queue.waiting > 0 || queue.publishing.size > 0) return;
    this.#leave(queue);
    this.#queues.delete(queue.key);
  }

  /** Makes the message claimable again. */
  #endLease(delivered: Delivered): void {
    this.#takeLease(delivered);
    const { queue, sequence } = delivered;
    queue.returned.splice(placeIn(queue.returned, sequence), 0, sequence);
    this.#offer(queue);
  }

  #takeLease(delivered: Delivered): void {
    const { lease, queue } = delivered;
    if (lease === undefined) return;
    lease.list.leases.remove(lease.entry);
    delivered.lease = undefined;
    if (--queue.leased === 0) queue.holder = undefined;
  }

  /** Adds the key to the line from which its holder, or every consumer, claims, if it has claimable messages. */
  #offer(queue: KeyQueue): void {
    if (!queue.hasMore) return this.#leave(queue);
    const line = this.#lineOf(queue);
    if (queue.place?.line === line) return;
    this.#leave(queue);
    queue.place = { line, entry: line.queues.add(queue), turn: ++this.#turns };
  }

  #lineOf({ holder }: KeyQueue): Line {
    if (holder === undefined) return this.#free;
    const line = this.#held.get(holder) ?? { queues: new LinkedList(), holder };
    this.#held.set(holder, line);
    return line;
  }

  #leave(queue: KeyQueue): void {
    if (queue.place === undefined) return;
    const { line, entry } = queue.place;
    line.queues.remove(entry);
    queue.place = undefined;
    if (line.queues.first === undefined && line.holder !== undefined) this.#held.delete(line.holder);
  }
}

function hasEnded({ lease }: Delivered, now: number): boolean {
  return lease !== undefined && lease.until <= now;
}

/** First place whose sequence number is not below `sequence`. */
function placeIn(ascending: readonly bigint[], sequence: bigint): number {
  let [low, high] = [0, ascending.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ascending[middle] ?? 0n) < sequence) low = middle + 1;
    else high = middle;
  }
  return low;
}
