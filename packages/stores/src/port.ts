import type { Bytes } from '@millrace/base';

/** 1 to 511 bytes; byte order is sort order. */
export type Key = Uint8Array;

export type Write = { readonly put: Key; readonly value: Uint8Array } | { readonly delete: Key };

/**
 * `unknown` happens on a cluster only: the write may have landed, or may land still. Whoever decides something by
 * compare-and-swap puts a unique claim id into the value and settles by reading (see `Decisions`).
 */
export type Swap = 'applied' | 'refused' | 'unknown';

export interface Range {
  /** Bounds; at most one of `gte` and `gt`, one of `lt` and `lte`. */
  readonly gte?: Key;
  readonly gt?: Key;
  readonly lt?: Key;
  readonly lte?: Key;
  /** Highest key first. */
  readonly reverse?: boolean;
  readonly limit?: number;
}

export interface Entry {
  readonly key: Bytes;
  readonly value: Bytes;
}

/**
 * An ordered map from keys to values. Byte arrays passed in may be reused by the caller as soon as the promise settles,
 * not before; byte arrays handed out belong to the caller.
 *
 * Every method throws MillraceError: E_INPUT for a key of 0 or more than 511 bytes, E_DISK_FULL and E_STORE when the
 * medium refuses (nothing of that write is kept), E_STORE after `close`.
 */
export interface Store {
  /** Sees every write that was acknowledged before the call, by whatever client. */
  get(key: Key): Promise<Bytes | undefined>;
  /** As many `get`s, in that order; where there is it costs less than one by one. */
  getMany?(keys: readonly Key[]): Promise<(Bytes | undefined)[]>;
  has(key: Key): Promise<boolean>;
  /** Durable when it resolves, as are `delete`, `batch` and `compareAndSwap`. */
  put(key: Key, value: Uint8Array): Promise<void>;
  /** A key that is not there is no error. */
  delete(key: Key): Promise<void>;
  /** All or nothing, in the order given. */
  batch(writes: readonly Write[]): Promise<void>;
  /** One key, linearizable; `undefined` stands for absent, on either side. */
  compareAndSwap(key: Key, expected: Uint8Array | undefined, next: Uint8Array | undefined): Promise<Swap>;
  /**
   * In key order, each key at most once, everything that was there before the call and is not touched while it runs.
   * Not a snapshot: what is written meanwhile may be seen or not.
   */
  range(options?: Range): AsyncIterable<Entry>;
  close(): Promise<void>;
}

/** A store that records can be kept in. */
export interface TransactionalStore extends Store {
  getMany(keys: readonly Key[]): Promise<(Bytes | undefined)[]>;
  /** `compareAndSwap`, and when it is applied these writes with it, all or nothing. */
  swap(
    key: Key,
    expected: Uint8Array | undefined,
    next: Uint8Array | undefined,
    also: readonly Write[],
  ): Promise<'applied' | 'refused'>;
}

export interface Claimed {
  readonly id: string;
  readonly message: Bytes;
  /** 1 for the first delivery. Counted since the queue was opened. */
  readonly attempts: number;
}

export interface ClaimOptions {
  readonly limit: number;
  /** After so many milliseconds without `acknowledge` the message is delivered again. */
  readonly leaseMs: number;
  /** Sum of the messages' lengths; a single message is delivered even if it is longer. */
  readonly maxBytes?: number;
}

/**
 * At least once; within a topic in the order of publishing (a redelivered message comes before younger ones that are
 * not leased). Topics are 1 to 100 and ids 1 to 200 bytes of UTF-8.
 */
export interface Queue {
  /**
   * Durable when it resolves. An id that is waiting in the topic, or was acknowledged a short while ago, is ignored:
   * publishers repeat until they know.
   */
  publish(topic: string, id: string, message: Uint8Array): Promise<void>;
  claim(topic: string, options: ClaimOptions): Promise<Claimed[]>;
  /** Ids that are not waiting are ignored. */
  acknowledge(topic: string, ids: readonly string[]): Promise<void>;
  /** Ends the leases at once. */
  release(topic: string, ids: readonly string[]): Promise<void>;
  /** Messages that are not acknowledged, leased ones included. */
  depth(topic: string): Promise<number>;
  /** Called after something in the topic may have become claimable in this process; returns its own removal. */
  onPublish(topic: string, listener: () => void): () => void;
  close(): Promise<void>;
}
