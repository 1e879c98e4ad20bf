import {
  type Bytes,
  concatBytes,
  decodeCbor,
  encodeCbor,
  MillraceError,
  parse,
  toMillraceError,
  utf8,
} from '@millrace/base';
import type { Store } from '@millrace/stores';
import type { z } from 'zod';

/** Records of one kind under a prefix of a store, in CBOR, checked when read. */
export class Table<T> {
  readonly #store: Store;
  readonly #prefix: Bytes;
  readonly #name: string;
  readonly #schema: z.ZodType<T>;
  readonly #onDamaged: ((table: string, id: string, error: MillraceError) => void) | undefined;

  /** @param onDamaged told of a record that cannot be read when records are listed; the others are listed all the same */
  constructor(
    store: Store,
    name: string,
    schema: z.ZodType<T>,
    onDamaged?: (table: string, id: string, error: MillraceError) => void,
  ) {
    this.#onDamaged = onDamaged;
    this.#store = store;
    this.#name = name;
    this.#prefix = utf8(`${name}/`);
    this.#schema = schema;
  }

  async get(id: string): Promise<T | undefined> {
    const bytes = await this.#store.get(this.#key(id));
    return bytes === undefined ? undefined : this.#decode(bytes);
  }

  /** @throws {MillraceError} E_NOT_FOUND */
  async require(id: string): Promise<T> {
    const record = await this.get(id);
    if (record === undefined) throw new MillraceError('E_NOT_FOUND', `no ${this.#name} ${id}`);
    return record;
  }

  /** False when there is one already. */
  async create(id: string, record: T): Promise<boolean> {
    const key = this.#key(id);
    const next = encodeCbor(record as never);
    const outcome = await this.#store.compareAndSwap(key, undefined, next);
    if (outcome !== 'unknown') return outcome === 'applied';
    const settled = await this.#store.get(key); // records carry their creator's unique id
    return settled !== undefined && Buffer.compare(settled, next) === 0;
  }

  /**
   * Changes a record by compare-and-swap; `change` may throw to refuse, and may return the same record to leave it.
   * @throws {MillraceError} E_NOT_FOUND
   */
  async update(id: string, change: (record: T) => T): Promise<T> {
    const key = this.#key(id);
    for (;;) {
      const current = await this.#store.get(key);
      if (current === undefined) throw new MillraceError('E_NOT_FOUND', `no ${this.#name} ${id}`);
      const before = this.#decode(current);
      const after = change(before);
      if (after === before) return after;
      const next = encodeCbor(after as never);
      const outcome = await this.#store.compareAndSwap(key, current, next);
      if (outcome === 'applied') return after;
    }
  }

  /** Writes a record, whether there is one already or not. */
  async put(id: string, record: T): Promise<void> {
    if (!(await this.create(id, record))) await this.update(id, () => record);
  }

  async remove(id: string): Promise<void> {
    await this.#store.delete(this.#key(id));
  }

  async *list(): AsyncGenerator<[string, T]> {
    const end = concatBytes(this.#prefix.subarray(0, -1), utf8('0')); // '0' follows '/'
    for await (const { key, value } of this.#store.range({ gte: this.#prefix, lt: end })) {
      const id = new TextDecoder().decode(key.subarray(this.#prefix.length));
      const record = this.#listed(id, value);
      if (record !== undefined) yield [id, record];
    }
  }

  #key(id: string): Bytes {
    return concatBytes(this.#prefix, utf8(id));
  }

  #listed(id: string, bytes: Uint8Array): T | undefined {
    try {
      return this.#decode(bytes);
    } catch (error) {
      if (this.#onDamaged === undefined) throw error;
      this.#onDamaged(this.#name, id, toMillraceError(error));
      return undefined;
    }
  }

  #decode(bytes: Uint8Array): T {
    return parse(this.#schema, decodeCbor(bytes, this.#name, 'E_STORE'), this.#name, 'E_STORE');
  }
}
