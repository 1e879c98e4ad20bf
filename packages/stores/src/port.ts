import type { Bytes } from '@millrace/base';

/** 1 to 511 bytes; byte order is sort order. */
export type Key = Uint8Array;

export type Write = { readonly put: Key; readonly value: Uint8Array } | { readonly delete: Key };

/**
 * `unknown` happens only on a cluster: the write may have been applied, or may be applied later. Callers that rely on
 * compare-and-swap then read the value again.
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
 * An ordered map from keys to values. The caller may reuse byte arrays that it passes in after the promise settles, not
 * before. Returned byte arrays belong to the caller.
 *
 * Every method throws MillraceError: E_INPUT for a key of 0 or more than 511 bytes, E_DISK_FULL and E_STORE when the
 * medium refuses (nothing of that write is then kept), E_STORE after `close`.
 */
export interface Store {
  /** Sees every write, by any client, that was acknowledged before the call. */
  get(key: Key): Promise<Bytes | undefined>;
  /** Equivalent to one `get` for each key, in that order, but cheaper. Optional. */
  getMany?(keys: readonly Key[]): Promise<(Bytes | undefined)[]>;
  has(key: Key): Promise<boolean>;
  /** Durable when it resolves, as are `delete`, `batch` and `compareAndSwap`. */
  put(key: Key, value: Uint8Array): Promise<void>;
  /** An absent key is not an error. */
  delete(key: Key): Promise<void>;
  /** Atomic, in the given order. */
  batch(writes: readonly Write[]): Promise<void>;
  /** Compares and swaps one key, linearizable. `undefined` stands for an absent value, on either side. */
  compareAndSwap(key: Key, expected: Uint8Array | undefined, next: Uint8Array | undefined): Promise<Swap>;
  /**
   * Entries in key order, each key at most once. Includes every entry that existed before the call and does not change
   * while it runs. Not a snapshot: concurrent writes may be seen or not.
   */
  range(options?: Range): AsyncIterable<Entry>;
  close(): Promise<void>;
}

/** A store that supports records. */
export interface TransactionalStore extends Store {
  getMany(keys: readonly Key[]): Promise<(Bytes | undefined)[]>;
  /** Like `range`, but reads only the keys. */
  keys(options?: Range): AsyncIterable<Bytes>;
  /** Like `compareAndSwap`, but also applies these writes atomically if the swap succeeds. */
  swap(
    key: Key,
    expected: Uint8Array | undefined,
    next: Uint8Array | undefined,
    also: readonly Write[],
  ): Promise<'applied' | 'refused'>;
}
