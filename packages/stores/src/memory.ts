import { type Bytes, compareBytes, copyBytes, MillraceError } from '@millrace/base';
import { checkKey, checkRange, checkWrites, inRange, sameValue } from './keys.ts';
import type { Entry, Key, Range, Swap, TransactionalStore, Write } from './port.ts';

/** A store in memory, for tests and for data that may be lost. An array in key order. */
export class MemoryStore implements TransactionalStore {
  readonly #entries: Entry[] = [];
  #open = true;

  async get(key: Key): Promise<Bytes | undefined> {
    this.#check(key);
    const value = this.#find(key);
    return value && copyBytes(value);
  }

  async getMany(keys: readonly Key[]): Promise<(Bytes | undefined)[]> {
    return Promise.all(keys.map((key) => this.get(key)));
  }

  async has(key: Key): Promise<boolean> {
    this.#check(key);
    return this.#find(key) !== undefined;
  }

  async put(key: Key, value: Uint8Array): Promise<void> {
    return this.batch([{ put: key, value }]);
  }

  async delete(key: Key): Promise<void> {
    return this.batch([{ delete: key }]);
  }

  async batch(writes: readonly Write[]): Promise<void> {
    this.#checkOpen();
    checkWrites(writes);
    for (const write of writes) this.#write(write);
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
    this.#check(key);
    checkWrites(also);
    if (!sameValue(this.#find(key), expected)) return 'refused';
    this.#set(key, next);
    for (const write of also) this.#write(write);
    return 'applied';
  }

  async *range(options: Range = {}): AsyncGenerator<Entry> {
    for (const key of this.#keysIn(options)) {
      this.#checkOpen();
      const value = this.#find(key);
      if (value !== undefined) yield { key, value: copyBytes(value) };
    }
  }

  async *keys(options: Range = {}): AsyncGenerator<Bytes> {
    yield* this.#keysIn(options);
  }

  async close(): Promise<void> {
    this.#open = false;
  }

  #check(key: Key): void {
    this.#checkOpen();
    checkKey(key);
  }

  #checkOpen(): void {
    if (!this.#open) throw new MillraceError('E_STORE', 'the store is closed');
  }

  #keysIn(options: Range): Bytes[] {
    this.#checkOpen();
    checkRange(options);
    const { gte, gt, lte, lt, limit = Number.POSITIVE_INFINITY, reverse } = options;
    const [low, high] = [gte ?? gt, lte ?? lt];
    let from = low === undefined ? 0 : this.#place(low);
    let to = high === undefined ? this.#entries.length : this.#place(high) + 1;
    // Two more, because the bounds themselves may be excluded.
    if (reverse) from = Math.max(from, to - limit - 2);
    else to = Math.min(to, from + limit + 2);
    const keys = this.#entries.slice(from, to).flatMap(({ key }) => (inRange(key, options) ? [copyBytes(key)] : []));
    if (reverse) keys.reverse();
    return keys.slice(0, limit);
  }

  /** Index of the first entry whose key is not below `key`. */
  #place(key: Key): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const entry = this.#entries[middle];
      if (entry !== undefined && compareBytes(entry.key, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #find(key: Key): Bytes | undefined {
    const entry = this.#entries[this.#place(key)];
    return entry !== undefined && compareBytes(entry.key, key) === 0 ? entry.value : undefined;
  }

  #write(write: Write): void {
    this.#set('put' in write ? write.put : write.delete, 'put' in write ? write.value : undefined);
  }

  #set(key: Key, value: Uint8Array | undefined): void {
    const place = this.#place(key);
    const entry = this.#entries[place];
    const exists = entry !== undefined && compareBytes(entry.key, key) === 0 ? 1 : 0;
    const added = value === undefined ? [] : [{ key: copyBytes(key), value: copyBytes(value) }];
    this.#entries.splice(place, exists, ...added);
  }
}
