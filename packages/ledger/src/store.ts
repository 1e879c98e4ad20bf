/**
 * What the ledger needs of a store: a structural part of the store port of `@millrace/stores`. A batch is atomic and
 * durable when its promise resolves; `range` runs in byte order of the keys. All keys of the ledger begin with
 * `ledger/`. One process writes to a ledger at a time.
 */
export interface LedgerStore {
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  batch(writes: readonly StoreWrite[]): Promise<void>;
  range(options: RangeOptions): AsyncIterable<{ key: Uint8Array; value: Uint8Array }>;
}

export type StoreWrite = { put: Uint8Array; value: Uint8Array } | { delete: Uint8Array };

export interface RangeOptions {
  gte?: Uint8Array;
  lt?: Uint8Array;
  reverse?: boolean;
  limit?: number;
}
