/** An entry of one list. */
export interface ListEntry<T> {
  readonly value: T;
  before: ListEntry<T> | undefined;
  after: ListEntry<T> | undefined;
}

/** A first-in, first-out list. Entries can also be removed from the middle; every operation takes constant time. */
export class LinkedList<T> {
  #first: ListEntry<T> | undefined;
  #last: ListEntry<T> | undefined;

  get first(): T | undefined {
    return this.#first?.value;
  }

  add(value: T): ListEntry<T> {
    const entry: ListEntry<T> = { value, before: this.#last, after: undefined };
    if (this.#last === undefined) this.#first = entry;
    else this.#last.after = entry;
    this.#last = entry;
    return entry;
  }

  /** @param entry an entry of this list that was not removed before */
  remove(entry: ListEntry<T>): void {
    if (entry.before === undefined) this.#first = entry.after;
    else entry.before.after = entry.after;
    if (entry.after === undefined) this.#last = entry.before;
    else entry.after.before = entry.before;
  }
}
