/**
 * What the ledger needs of a store: a structural part of the log port of `@millrace/stores`. `range` runs in byte order of
 * the keys. All keys of the ledger begin with `ledger/`.
 */
export interface LedgerStore {
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  range(options: RangeOptions): AsyncIterable<{ key: Uint8Array; value: Uint8Array }>;
  /** Takes the ledger over: what wrote to it before is refused from now on. */
  acquire(): Promise<LedgerWriter>;
}

export interface LedgerWriter {
  /**
   * Atomic, and durable when the promise resolves.
   * @throws {MillraceError} E_FENCED when another writer has taken the ledger over
   */
  append(writes: readonly StoreWrite[]): Promise<void>;
}

export type StoreWrite = { put: Uint8Array; value: Uint8Array } | { delete: Uint8Array };

export interface RangeOptions {
  gte?: Uint8Array;
  lt?: Uint8Array;
  reverse?: boolean;
  limit?: number;
}
