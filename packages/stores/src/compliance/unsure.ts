import type { Key, Range, Store, Swap, Write } from '../port.ts';

/** A store that answers `unknown` when `when` says so, with the swap applied or not, as a cluster may. */
export class UnsureStore implements Store {
  readonly #inner: Store;
  readonly #when: () => 'sure' | 'applied unseen' | 'lost';

  constructor(inner: Store, when: () => 'sure' | 'applied unseen' | 'lost') {
    this.#inner = inner;
    this.#when = when;
  }

  async compareAndSwap(key: Key, expected: Uint8Array | undefined, next: Uint8Array | undefined): Promise<Swap> {
    const what = this.#when();
    if (what === 'lost') return 'unknown';
    const swap = await this.#inner.compareAndSwap(key, expected, next);
    return what === 'sure' ? swap : 'unknown';
  }

  get(key: Key) {
    return this.#inner.get(key);
  }

  has(key: Key) {
    return this.#inner.has(key);
  }

  put(key: Key, value: Uint8Array) {
    return this.#inner.put(key, value);
  }

  delete(key: Key) {
    return this.#inner.delete(key);
  }

  batch(writes: readonly Write[]) {
    return this.#inner.batch(writes);
  }

  range(options?: Range) {
    return this.#inner.range(options);
  }

  close() {
    return this.#inner.close();
  }
}
