/**
 * The ledger's requirements for a store: structurally a part of the log port of `@millrace/stores`. `range` is in byte
 * order of the keys.
 */
export interface LedgerStore {
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  /** Like one `get` for each key, but cheaper. */
  getMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>;
  range(options: RangeOptions): AsyncIterable<{ key: Uint8Array; value: Uint8Array }>;
  /** Takes the ledger over. From now on, writes of the previous holder are rejected. */
  acquire(): Promise<LedgerWriter>;
}

export interface LedgerWriter {
  /**
   * Atomic, and durable once the promise resolves.
   * @throws {MillraceError} E_FENCED if another writer has taken the ledger over
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
