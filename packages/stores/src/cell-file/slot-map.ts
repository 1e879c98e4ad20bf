/** Free and used slots of a file. Allocates by next fit, so that slots written together are adjacent if possible. */
export class SlotMap {
  #taken: Uint8Array<ArrayBuffer>;
  /** Number of slots in the file. */
  #count: number;
  #free: number;
  #cursor = 0;

  constructor(count: number) {
    this.#taken = new Uint8Array(Math.max(1024, count));
    this.#count = count;
    this.#free = count;
  }

  get count(): number {
    return this.#count;
  }

  get taken(): number {
    return this.#count - this.#free;
  }

  /** @returns false if the slot is already used, or beyond the end */
  mark(slot: number): boolean {
    if (slot >= this.#count || this.#taken[slot] !== 0) return false;
    this.#taken[slot] = 1;
    this.#free--;
    return true;
  }

  /** Takes a free slot. If none is free, the file grows by one. */
  take(): number {
    if (this.#free === 0) return this.#grow();
    let slot = this.#taken.indexOf(0, this.#cursor);
    if (slot < 0 || slot >= this.#count) slot = this.#taken.indexOf(0);
    this.mark(slot);
    this.#cursor = slot + 1;
    return slot;
  }

  release(slot: number): void {
    if (this.#taken[slot] !== 1) return;
    this.#taken[slot] = 0;
    this.#free++;
  }

  #grow(): number {
    const slot = this.#count++;
    if (slot >= this.#taken.length) {
      const larger = new Uint8Array(2 * this.#taken.length);
      larger.set(this.#taken);
      this.#taken = larger;
    }
    this.#taken[slot] = 1;
    return slot;
  }
}
