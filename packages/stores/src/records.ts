import type { Bytes } from '@millrace/base';
import type { Swap } from './port.ts';

/** Position of a record in an index: a group, and a number that orders the records of the group. */
export interface IndexEntry {
  /** 1 to 150 bytes of UTF-8. */
  readonly group: string;
  /** A safe integer, 0 or more. Default 0. Records with equal order are sorted by their keys. */
  readonly order?: number;
}

/**
 * Derives a record's entries in one index from its value: none, one or several, without duplicates. Must be pure. May
 * throw for a damaged value.
 */
export type IndexFunction = (value: Uint8Array) => readonly IndexEntry[];

export interface CollectionOptions {
  /**
   * Indexes by name: 1 to 40 of a–z, 0–9 and hyphen. Every caller declares the same indexes. If the stored indexes
   * differ, they are rebuilt before use. A changed function needs a new name.
   */
  readonly indexes?: Readonly<Record<string, IndexFunction>>;
}

export interface PageOptions {
  /** Maximum number of records, 1 to 1000. A page may have fewer even if more records follow. */
  readonly limit: number;
  /** Index to read. Without it, the page is in key order. */
  readonly index?: string;
  /** Group of the index; required with `index`. */
  readonly group?: string;
  /** With `index`: only orders below this number. */
  readonly below?: number;
  /** Without `index`: only keys with this prefix. */
  readonly prefix?: string;
  /** `next` of the previous page, with otherwise the same options. */
  readonly after?: Uint8Array;
  /** Highest first. */
  readonly reverse?: boolean;
}

export interface RecordEntry {
  readonly key: string;
  readonly value: Bytes;
}

export interface Page {
  readonly entries: readonly RecordEntry[];
  /** Cursor of the next page, opaque, at most 210 bytes; absent on the last page. */
  readonly next?: Bytes;
}

/**
 * Records by key, 1 to 200 bytes of UTF-8; byte order is sort order. The caller may reuse byte arrays that it passes in
 * after the promise settles, not before. Returned byte arrays belong to the caller. No call changes two records.
 *
 * Every method throws MillraceError: E_INPUT for an invalid key, group, order or cursor; E_DISK_FULL and E_STORE when
 * the medium refuses (nothing of that write is then kept), E_STORE after `close`.
 */
export interface Collection {
  /** Sees every write, by any client, that was acknowledged before the call. */
  get(key: string): Promise<Bytes | undefined>;
  /** Durable when it resolves, as are `delete` and `compareAndSwap`. */
  put(key: string, value: Uint8Array): Promise<void>;
  /** An absent key is not an error. */
  delete(key: string): Promise<void>;
  /** Compares and swaps one key, linearizable. `undefined` stands for an absent value, on either side. */
  compareAndSwap(key: string, expected: Uint8Array | undefined, next: Uint8Array | undefined): Promise<Swap>;
  /**
   * Returns each matching record once, except records written meanwhile. The cost does not depend on the size of the
   * collection.
   */
  page(options: PageOptions): Promise<Page>;
}

/** Named collections. A name has 1 to 40 of a–z, 0–9 and hyphen. */
export interface RecordStore {
  collection(name: string, options?: CollectionOptions): Collection;
  /** Names of the collections that have records, sorted. A collection whose records were all deleted may be named. */
  collections(): Promise<string[]>;
  close(): Promise<void>;
}
