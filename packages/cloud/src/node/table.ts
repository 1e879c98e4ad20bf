import { decodeCbor, encodeCbor, equalBytes, MillraceError, parse, toMillraceError } from '@millrace/base';
import type { Collection, IndexEntry, PageOptions, RecordStore } from '@millrace/stores';
import type { z } from 'zod';

export interface TableOptions<T> {
  /** For each index, by name: the positions of a record. */
  readonly indexes?: Readonly<Record<string, (record: T) => readonly IndexEntry[]>>;
  /** Called after each write, with the new record. */
  readonly onChange?: ((id: string, record: unknown) => void) | undefined;
  /** Called for each record that cannot be read while records are listed; the others are still listed. */
  readonly onDamaged?: ((table: string, id: string, error: MillraceError) => void) | undefined;
  /**
   * Keeps the records that were read or written last, so that an unchanged one is not decoded again. Readers share these
   * records and must not change or wipe them.
   */
  readonly keepsRecent?: boolean;
}

/** Number of records that a table keeps, and the length of the longest of them in bytes. */
const RECENT = 256;
const RECENT_BYTES = 32 << 10;

/** Records of a page, without those that cannot be read. */
export interface TablePage<T> {
  readonly records: readonly (readonly [id: string, record: T])[];
  readonly next?: Uint8Array;
}

/** Records that `list` reads at a time. */
const LISTED = 200;

/** Records of one kind, stored as CBOR and validated when read. */
export class Table<T> {
  readonly name: string;
  readonly #collection: Collection;
  readonly #schema: z.ZodType<T>;
  readonly #onDamaged: TableOptions<T>['onDamaged'];
  readonly #onChange: ((id: string, record: unknown) => void) | undefined;
  /** Decoded values, because several indexes read the same value. */
  readonly #decoded = new WeakMap<Uint8Array, T>();
  /** Encoded records by id, the one that was used least recently first. */
  readonly #recent: Map<string, Uint8Array> | undefined;

  constructor(
    records: RecordStore,
    name: string,
    schema: z.ZodType<T>,
    { indexes = {}, onDamaged, onChange, keepsRecent = false }: TableOptions<T> = {},
  ) {
    this.name = name;
    this.#schema = schema;
    this.#onDamaged = onDamaged;
    this.#recent = keepsRecent ? new Map() : undefined;
    this.#onChange = onChange;
    const functions = Object.entries(indexes).map(
      ([index, entriesOf]) => [index, (value: Uint8Array) => entriesOf(this.#decode(value))] as const,
    );
    this.#collection = records.collection(name, { indexes: Object.fromEntries(functions) });
  }

  async get(id: string): Promise<T | undefined> {
    const bytes = await this.#collection.get(id);
    return bytes === undefined ? undefined : this.#decode(this.#keep(id, bytes));
  }

  /** @throws {MillraceError} E_NOT_FOUND */
  async require(id: string): Promise<T> {
    const record = await this.get(id);
    if (record === undefined) throw new MillraceError('E_NOT_FOUND', `no ${this.name} ${id}`);
    return record;
  }

  /** @returns false when the record already exists */
  async create(id: string, record: T): Promise<boolean> {
    const created = await this.#swap(id, undefined, encodeCbor(record as never)); // has its creator's unique id
    if (created) this.#onChange?.(id, record);
    return created;
  }

  /**
   * Changes a record by compare-and-swap. `change` may throw to refuse, or return the same record to leave it
   * unchanged.
   * @throws {MillraceError} E_NOT_FOUND
   */
  update(id: string, change: (record: T) => T): Promise<T> {
    return this.change(id, (record) => {
      if (record === undefined) throw new MillraceError('E_NOT_FOUND', `no ${this.name} ${id}`);
      return change(record);
    });
  }

  /** As `update`, but also creates the record: `change` gets undefined if there is none. */
  async change(id: string, change: (record: T | undefined) => T): Promise<T> {
    for (;;) {
      const current = await this.#collection.get(id);
      const before = current === undefined ? undefined : this.#decode(this.#keep(id, current));
      const after = change(before);
      if (after === before) return after;
      if (!(await this.#swap(id, current, encodeCbor(after as never)))) continue;
      this.#onChange?.(id, after);
      return after;
    }
  }

  /** Creates or replaces a record. */
  async put(id: string, record: T): Promise<void> {
    await this.#collection.put(id, encodeCbor(record as never));
    this.#onChange?.(id, record);
  }

  remove(id: string): Promise<void> {
    return this.#collection.delete(id);
  }

  async page(options: PageOptions): Promise<TablePage<T>> {
    const { entries, next } = await this.#collection.page(options);
    const records = entries.flatMap(({ key, value }) => {
      const record = this.#listed(key, value);
      return record === undefined ? [] : [[key, record] as const];
    });
    return { records, ...(next && { next }) };
  }

  /** Every record, or every record in a group of an index. */
  async *list(
    options: Pick<PageOptions, 'index' | 'group' | 'below' | 'prefix'> = {},
  ): AsyncGenerator<readonly [string, T]> {
    let after: Uint8Array | undefined;
    do {
      const { records, next }: TablePage<T> = await this.page({ ...options, limit: LISTED, ...(after && { after }) });
      yield* records;
      after = next;
    } while (after !== undefined);
  }

  /** Compares and swaps. If a cluster cannot tell whether the write was applied, reads the record. */
  async #swap(id: string, expected: Uint8Array | undefined, next: Uint8Array): Promise<boolean> {
    const outcome = await this.#collection.compareAndSwap(id, expected, next);
    if (outcome === 'applied') this.#keep(id, next);
    if (outcome !== 'unknown') return outcome === 'applied';
    const settled = await this.#collection.get(id);
    return settled !== undefined && equalBytes(settled, next);
  }

  /** @returns these bytes, or the same bytes as they were kept */
  #keep(id: string, bytes: Uint8Array): Uint8Array {
    if (this.#recent === undefined) return bytes;
    const known = this.#recent.get(id);
    this.#recent.delete(id);
    if (bytes.length > RECENT_BYTES) return bytes;
    const kept = known !== undefined && equalBytes(known, bytes) ? known : bytes;
    this.#recent.set(id, kept);
    const [oldest] = this.#recent.keys();
    if (this.#recent.size > RECENT && oldest !== undefined) this.#recent.delete(oldest);
    return kept;
  }

  #listed(id: string, bytes: Uint8Array): T | undefined {
    try {
      return this.#decode(bytes);
    } catch (error) {
      if (this.#onDamaged === undefined) throw error;
      this.#onDamaged(this.name, id, toMillraceError(error));
      return undefined;
    }
  }

  #decode(bytes: Uint8Array): T {
    const known = this.#decoded.get(bytes);
    if (known !== undefined) return known;
    const record = parse(this.#schema, decodeCbor(bytes, this.name, 'E_STORE'), this.name, 'E_STORE');
    this.#decoded.set(bytes, record);
    return record;
  }
}
