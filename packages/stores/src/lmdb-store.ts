import { type Bytes, copyBytes, MillraceError } from '@millrace/base';
import type { Database, RangeOptions } from 'lmdb';
import { checkKey, checkRange, checkWrites, inRange, sameValue } from './keys.ts';
import { storeError } from './lmdb-errors.ts';
import type { LmdbWriter } from './lmdb-writer.ts';
import type { Entry, Key, Range, Swap, TransactionalStore, Write } from './port.ts';

export type LmdbDatabase = Database<Uint8Array, Uint8Array>;

/** Entries that `range` reads at a time. A read transaction ends within its turn of the event loop. */
const PAGE = 128;
const LOWEST = Buffer.from([0]);

/** How entries are read, and what is returned for each. */
interface Reading<Found, Item> {
  readonly scan: (options: RangeOptions) => Iterable<Found>;
  readonly keyOf: (found: Found) => Uint8Array;
  readonly copy: (found: Found) => Item;
}

export class LmdbStore implements TransactionalStore {
  readonly #database: LmdbDatabase;
  readonly #writer: LmdbWriter;
  readonly #path: string;
  #open = true;

  constructor(database: LmdbDatabase, writer: LmdbWriter, path: string) {
    this.#database = database;
    this.#writer = writer;
    this.#path = path;
  }

  async get(key: Key): Promise<Bytes | undefined> {
    checkKey(key);
    const value = this.#read(() => this.#database.getBinary(key));
    return value && copyBytes(value);
  }

  async getMany(keys: readonly Key[]): Promise<(Bytes | undefined)[]> {
    for (const key of keys) checkKey(key);
    return this.#read(() =>
      keys.map((key) => {
        const value = this.#database.getBinary(key);
        return value && copyBytes(value);
      }),
    );
  }

  async has(key: Key): Promise<boolean> {
    checkKey(key);
    return this.#read(() => this.#database.doesExist(key));
  }

  put(key: Key, value: Uint8Array): Promise<void> {
    return this.batch([{ put: key, value }]);
  }

  delete(key: Key): Promise<void> {
    return this.batch([{ delete: key }]);
  }

  async batch(writes: readonly Write[]): Promise<void> {
    this.#checkOpen();
    checkWrites(writes);
    if (writes.length === 0) return;
    await this.#writer.write(bytesOf(writes), writes.length, () => this.#apply(writes));
  }

  compareAndSwap(key: Key, expected: Uint8Array | undefined, next: Uint8Array | undefined): Promise<Swap> {
    return this.swap(key, expected, next, []);
  }

  async swap(
    key: Key,
    expected: Uint8Array | undefined,
    next: Uint8Array | undefined,
    also: readonly Write[],
  ): Promise<'applied' | 'refused'> {
    this.#checkOpen();
    checkKey(key);
    checkWrites(also);
    let swap: 'applied' | 'refused' = 'refused';
    await this.#writer.write((next?.length ?? 0) + 64 + bytesOf(also), 1 + also.length, () => {
      swap = sameValue(this.#database.getBinary(key), expected) ? 'applied' : 'refused';
      if (swap === 'refused') return;
      this.#set(key, next);
      this.#apply(also);
    });
    return swap;
  }

  range(options: Range = {}): AsyncGenerator<Entry> {
    return this.#pages(options, {
      scan: (scan) => this.#database.getRange(scan),
      keyOf: ({ key }) => key,
      copy: ({ key, value }) => ({ key: copyBytes(key), value: copyBytes(value) }),
    });
  }

  keys(options: Range = {}): AsyncGenerator<Bytes> {
    return this.#pages(options, {
      scan: (scan) => this.#database.getKeys(scan),
      keyOf: (key) => key,
      copy: (key) => copyBytes(key),
    });
  }

  async close(): Promise<void> {
    this.#open = false;
  }

  async *#pages<Found, Item>(options: Range, reading: Reading<Found, Item>): AsyncGenerator<Item> {
    checkRange(options);
    let left = options.limit ?? Number.POSITIVE_INFINITY;
    let after: Key | undefined;
    while (left > 0) {
      const wanted = Math.min(left, PAGE);
      const { items, last } = this.#read(() => readPage(reading, options, after, wanted));
      yield* items;
      if (items.length < wanted) return;
      after = last;
      left -= items.length;
    }
  }

  #apply(writes: readonly Write[]): void {
    for (const write of writes)
      this.#set('put' in write ? write.put : write.delete, 'put' in write ? write.value : undefined);
  }

  #set(key: Key, value: Uint8Array | undefined): void {
    if (value === undefined) this.#database.removeSync(key);
    else this.#database.putSync(key, value);
  }

  #read<T>(work: () => T): T {
    this.#checkOpen();
    try {
      return work();
    } catch (error) {
      throw storeError(error, this.#path, 'a read failed');
    }
  }

  #checkOpen(): void {
    if (!this.#open) throw new MillraceError('E_STORE', 'the store is closed');
  }
}

function readPage<Found, Item>(
  { scan, keyOf, copy }: Reading<Found, Item>,
  options: Range,
  after: Key | undefined,
  limit: number,
): { items: Item[]; last: Key | undefined } {
  const reverse = options.reverse ?? false;
  const start = after ?? (reverse ? (options.lte ?? options.lt) : (options.gte ?? options.gt));
  const items: Item[] = [];
  let last: Key | undefined;
  const found = scan({
    reverse,
    ...(start && { start }),
    // In reverse, lmdb would omit the lowest key.
    ...(reverse && { end: LOWEST, inclusiveEnd: true }),
  });
  for (const item of found) {
    const key = keyOf(item);
    // Check the far bound here, because lmdb treats it differently by direction.
    if (!inRange(key, options)) {
      if (start !== undefined && sameValue(start, key)) continue;
      break;
    }
    if (after !== undefined && sameValue(after, key)) continue;
    items.push(copy(item));
    last = copyBytes(key);
    if (items.length === limit) break;
  }
  return { items, last };
}

function bytesOf(writes: readonly Write[]): number {
  return writes.reduce((total, write) => total + ('put' in write ? write.value.length : 0) + 64, 0);
}
