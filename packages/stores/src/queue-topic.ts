import { LinkedList, type ListEntry } from './linked-list.ts';
import type { StoredMessage } from './queue-keys.ts';

/** A message that was given out and is not acknowledged. */
interface Delivered {
  readonly queue: KeyQueue;
  readonly sequence: bigint;
  readonly id: string;
  attempts: number;
  lease: { readonly list: LeaseList; readonly entry: ListEntry<Delivered>; readonly until: number } | undefined;
}

/** Leases of one length: in the order in which they end. */
interface LeaseList {
  readonly leases: LinkedList<Delivered>;
}

/** Keys that have something to claim, in the order of their turns. */
interface Line {
  readonly queues: LinkedList<KeyQueue>;
  /** Whose keys these are; undefined: nobody's. */
  readonly holder: string | undefined;
}

/** What waits under one key. */
export class KeyQueue {
  readonly key: string;
  /** Durable, and not acknowledged. */
  waiting = 0;
  /** By sequence. */
  readonly delivered = new Map<bigint, Delivered>();
  /** Of those, ascending: whose lease has ended. */
  readonly returned: bigint[] = [];
  leased = 0;
  /** The consumer that has the leases. */
  holder: string | undefined;
  /** Nothing from here on was given out. */
  next = 0n;
  /** Sequences that are not durable yet: nothing above the lowest is claimable. */
  readonly publishing = new Set<bigint>();
  place: { readonly line: Line; readonly entry: ListEntry<KeyQueue>; readonly turn: number } | undefined;

  constructor(key: string) {
    this.key = key;
  }

  get hasMore(): boolean {
    return this.returned.length > 0 || this.waiting > this.delivered.size;
  }
}

/** Which messages of a topic may be given to whom. Nothing here waits or reads: each method is one step. */
export class TopicState {
  nextSequence = 0n;
  depth = 0;
  readonly #queues = new Map<string, KeyQueue>();
  readonly #delivered = new Map<string, Delivered>();
  readonly #leases = new Map<number, LeaseList>();
  readonly #free: Line = { queues: new LinkedList(), holder: undefined };
  /** Keys that a consumer holds. */
  readonly #held = new Map<string, Line>();
  #turns = 0;
  /** Sequences acknowledged since the claim under way began. */
  #acknowledged: Set<bigint> | undefined;

  /** A message that is durable when the queue is opened. */
  load(key: string, sequence: bigint): void {
    if (sequence >= this.nextSequence) this.nextSequence = sequence + 1n;
    const queue = this.#queue(key);
    queue.waiting++;
    this.depth++;
    this.#offer(queue);
  }

  /** Gives the next sequence of the topic to a message of the key. */
  beginPublish(key: string): bigint {
    const sequence = this.nextSequence++;
    this.#queue(key).publishing.add(sequence);
    return sequence;
  }

  /** @param stored whether the message is durable now; otherwise its sequence stays empty */
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

  /** Only one claim at a time. */
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

  /** The key whose turn it is: of those that the consumer holds, and those that nobody holds. */
  turnOf(consumer: string): KeyQueue | undefined {
    const [free, held] = [this.#free.queues.first, this.#held.get(consumer)?.queues.first];
    if (free === undefined || held === undefined) return free ?? held;
    return (free.place?.turn ?? 0) < (held.place?.turn ?? 0) ? free : held;
  }

  /** Fresh messages of the key that may be given out: from `from` to below `to`. */
  fresh({ next, publishing }: KeyQueue): { from: bigint; to: bigint } {
    let to = this.nextSequence;
    for (const sequence of publishing) if (sequence < to) to = sequence;
    return { from: next, to };
  }

  /** @returns which delivery it is; undefined when it has been acknowledged since the claim began */
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

  /** A message that had returned is not there any more, or is given out again. */
  forget({ returned }: KeyQueue, sequence: bigint): void {
    const at = placeIn(returned, sequence);
    if (returned[at] === sequence) returned.splice(at, 1);
  }

  /** The key has had its turn. @param again whether it may have another one as it is */
  hadTurn(queue: KeyQueue, again: boolean): void {
    this.#leave(queue);
    if (again) this.#offer(queue);
  }

  /** Where a message is that was given out, without reading. */
  delivered(id: string): { key: string; sequence: bigint } | undefined {
    const delivered = this.#delivered.get(id);
    return delivered && { key: delivered.queue.key, sequence: delivered.sequence };
  }

  /** @returns whether the key may have become claimable for others */
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

  /** A key exists while it has messages. */
  #drop(queue: KeyQueue): void {
    if (queue.waiting > 0 || queue.publishing.size > 0) return;
    this.#leave(queue);
    this.#queues.delete(queue.key);
  }

  /** Its message comes again. */
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

  /** Puts the key in the line of those who may claim from it, if it has anything to claim. */
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

/** First place whose sequence is not below `sequence`. */
function placeIn(ascending: readonly bigint[], sequence: bigint): number {
  let [low, high] = [0, ascending.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ascending[middle] ?? 0n) < sequence) low = middle + 1;
    else high = middle;
  }
  return low;
}
