import type { Bytes } from '@millrace/base';

/** The bounded buffer of a machine: bytes in at one end, out at the other, wiped as they leave. */
export class ByteQueue {
  readonly #bytes: Bytes;
  #from = 0;
  #length = 0;

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  get free(): number {
    return this.#bytes.length - this.#length;
  }

  /** Takes as much of `content` as there is room for; returns how much. */
  put(content: Uint8Array): number {
    const count = Math.min(content.length, this.free);
    const to = (this.#from + this.#length) % this.#bytes.length;
    const first = Math.min(count, this.#bytes.length - to);
    this.#bytes.set(content.subarray(0, first), to);
    this.#bytes.set(content.subarray(first, count), 0);
    this.#length += count;
    return count;
  }

  /** The oldest bytes that lie together, without taking them. */
  peek(): Bytes {
    return this.#bytes.subarray(this.#from, Math.min(this.#from + this.#length, this.#bytes.length));
  }

  /** Wipes and drops the `count` oldest bytes, of those that `peek` shows. */
  drop(count: number): void {
    this.#bytes.fill(0, this.#from, this.#from + count);
    this.#from = (this.#from + count) % this.#bytes.length;
    this.#length -= count;
  }

  clear(): void {
    this.#bytes.fill(0);
    this.#from = 0;
    this.#length = 0;
  }
}
