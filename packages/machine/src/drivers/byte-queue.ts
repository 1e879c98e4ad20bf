/** The bounded buffer of a machine: a FIFO of bytes that are wiped as they leave. */
export class ByteQueue {
  readonly #bytes: Uint8Array;
  #from = 0;
  #length = 0;

  /** @param memory storage of the bytes; the caller may reuse it once the queue is no longer used */
  constructor(memory: Uint8Array) {
    this.#bytes = memory;
  }

  get length(): number {
    return this.#length;
  }

  get free(): number {
    return this.#bytes.length - this.#length;
  }

  /** Copies as much of `content` as fits. @returns the number of bytes copied */
  put(content: Uint8Array): number {
    const count = Math.min(content.length, this.free);
    const to = (this.#from + this.#length) % this.#bytes.length;
    const first = Math.min(count, this.#bytes.length - to);
    this.#bytes.set(content.subarray(0, first), to);
    this.#bytes.set(content.subarray(first, count), 0);
    this.#length += count;
    return count;
  }

  /** The oldest contiguous bytes, without removing them. */
  peek(): Uint8Array {
    return this.#bytes.subarray(this.#from, Math.min(this.#from + this.#length, this.#bytes.length));
  }

  /** Wipes and drops the `count` oldest bytes that `peek` returned. */
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
