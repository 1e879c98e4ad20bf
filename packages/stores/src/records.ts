import type { Bytes } from '@millrace/base';
import type { Swap } from './port.ts';

/** Where an index has a record: under a group, which a page names, and there in the order of a number. */
export interface IndexEntry {
  /** 1 to 150 bytes of UTF-8. */
  readonly group: string;
  /** A safe integer, 0 or more. Default 0. Records of one order are sorted by their keys. */
  readonly order?: number;
}

/**
 * Derives a record's entries in one index from its value: none, one or several, each group and order once. Pure; it may
 * throw for a value that is damaged.
 */
export type IndexFunction = (value: Uint8Array) => readonly IndexEntry[];

export interface CollectionOptions {
  /**
   * By name: 1 to 40 of a–z, 0–9 and hyphen. Whoever opens a collection declares the same indexes; a collection that
   * has other ones is indexed again before it is used. A function that changes takes a new name.
   */
  readonly indexes?: Readonly<Record<string, IndexFunction>>;
}

export interface PageOptions {
  /** Most records of the page, 1 to 1000. A page may hold fewer, also when there are more. */
  readonly limit: number;
  /** Without it the page is in the order of keys. */
  readonly index?: string;
  /** Needed with `index`. */
  readonly group?: string;
  /** With `index`: orders below this number only. */
  readonly below?: number;
  /** Without `index`: keys that begin with this only. */
  readonly prefix?: string;
  /** `next` of the page before, of the same options. */
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
  /** Where the next page begins; absent on the last page. At most 210 bytes, to be handed back as they are. */
  readonly next?: Bytes;
}

/**
 * Records by key, 1 to 200 bytes of UTF-8; byte order is sort order. Byte arrays passed in may be reused by the caller
 * when the promise settles, not before; byte arrays handed out belong to the caller. No call changes two records.
 *
 * Every method throws MillraceError: E_INPUT for a key, group, order or cursor that is not as described; E_DISK_FULL and
 * E_STORE when the medium refuses (nothing of that write is kept), E_STORE after `close`.
 */
export interface Collection {
  /** Sees every write that was acknowledged before the call, by whatever client. */
  get(key: string): Promise<Bytes | undefined>;
  /** Durable when it resolves, as are `delete` and `compareAndSwap`. */
  put(key: string, value: Uint8Array): Promise<void>;
  /** A key that is not there is no error. */
  delete(key: string): Promise<void>;
  /** One key, linearizable; `undefined` stands for absent, on either side. */
  compareAndSwap(key: string, expected: Uint8Array | undefined, next: Uint8Array | undefined): Promise<Swap>;
  /**
   * Holds every record that belongs to it and is not written meanwhile, once; never one that its index does not name.
   * Costs the same however many records the collection has.
   */
  page(options: PageOptions): Promise<Page>;
}

/** Named collections, 1 to 40 of a–z, 0–9 and hyphen each. */
export interface RecordStore {
  collection(name: string, options?: CollectionOptions): Collection;
  close(): Promise<void>;
}
