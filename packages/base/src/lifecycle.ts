/** A resource that must be closed. */
export interface Closable {
  close(): Promise<void> | void;
}

/** Closes in reverse order of opening. If one fails to close, the others are still closed. */
export class Closer implements Closable {
  readonly #open: Closable[] = [];

  add<T extends Closable>(part: T): T {
    this.#open.push(part);
    return part;
  }

  async close(): Promise<void> {
    const failures: unknown[] = [];
    for (let part = this.#open.pop(); part !== undefined; part = this.#open.pop()) {
      try {
        await part.close();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, 'could not close everything');
  }
}

/**
 * Combines many small items into few calls: items that arrive during a call go into the next one, in order. So a slow
 * call gets larger batches, and a single item does not wait.
 *
 * If calls are expensive, `rest` reduces their number further: after a call with several items the next call waits for
 * this time.
 */
export class Batcher<T> {
  readonly #most: number;
  readonly #call: (items: readonly T[]) => Promise<void>;
  readonly #rest: () => Promise<unknown>;
  #waiting: { readonly item: T; resolve(): void; reject(error: unknown): void }[] = [];
  #calling = false;

  /** @param most maximum number of items per call */
  constructor(
    most: number,
    call: (items: readonly T[]) => Promise<void>,
    rest: () => Promise<unknown> = () => Promise.resolve(),
  ) {
    this.#most = most;
    this.#call = call;
    this.#rest = rest;
  }

  /** Settles like the call that contains the item. */
  add(item: T): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (!this.#calling) void this.#work();
    });
  }

  async #work(): Promise<void> {
    this.#calling = true;
    while (this.#waiting.length > 0) {
      const some = this.#waiting.slice(0, this.#most);
      this.#waiting = this.#waiting.slice(this.#most);
      try {
        await this.#call(some.map(({ item }) => item));
        for (const { resolve } of some) resolve();
      } catch (error) {
        for (const { reject } of some) reject(error);
      }
      if (some.length > 1) await this.#rest();
    }
    this.#calling = false;
  }
}
