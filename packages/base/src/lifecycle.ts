/** Something that runs and has to be closed. */
export interface Closable {
  close(): Promise<void> | void;
}

/** Closes in the reverse order of opening; one failure does not keep the others open. */
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
 * Many small things by few calls: what comes while a call is under way goes with the next one, in order. So a call that
 * takes long takes more at a time, and one thing alone does not wait.
 *
 * Where calls are dear, `rest` makes them fewer still: after a call that took several things the next one waits for it.
 */
export class Batcher<T> {
  readonly #most: number;
  readonly #call: (items: readonly T[]) => Promise<void>;
  readonly #rest: () => Promise<unknown>;
  #waiting: { readonly item: T; resolve(): void; reject(error: unknown): void }[] = [];
  #calling = false;

  /** @param most things of one call */
  constructor(
    most: number,
    call: (items: readonly T[]) => Promise<void>,
    rest: () => Promise<unknown> = () => Promise.resolve(),
  ) {
    this.#most = most;
    this.#call = call;
    this.#rest = rest;
  }

  /** Ends as the call ends that took the item. */
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
