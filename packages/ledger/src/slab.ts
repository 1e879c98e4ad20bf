import type { Bytes } from '@millrace/base';

const SLAB_BYTES = 1 << 16;

/**
 * Byte arrays that live and die together, as the values of one batch do, in few buffers: a buffer for each would cost
 * more than its contents.
 */
export class Slab {
  #bytes: Bytes = new Uint8Array(0);
  #used = 0;

  /** @returns `length` zero bytes */
  take(length: number): Bytes {
    if (this.#used + length > this.#bytes.length) {
      this.#bytes = new Uint8Array(Math.max(SLAB_BYTES, length));
      this.#used = 0;
    }
    this.#used += length;
    return this.#bytes.subarray(this.#used - length, this.#used);
  }
}
