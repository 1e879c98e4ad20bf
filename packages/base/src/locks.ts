/** Runs tasks one after the other, in order of arrival. */
export class Mutex {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(task: () => Promise<T> | T): Promise<T> {
    const result = this.#last.then(task);
    this.#last = result.catch(() => undefined);
    return result;
  }
}

/** One `Mutex` per key, which exists while it has tasks. */
export class KeyedMutex {
  readonly #mutexes = new Map<string, { readonly mutex: Mutex; tasks: number }>();

  /** Number of keys that currently have tasks. */
  get size(): number {
    return this.#mutexes.size;
  }

  run<T>(key: string, task: () => Promise<T> | T): Promise<T> {
    const entry = this.#mutexes.get(key) ?? { mutex: new Mutex(), tasks: 0 };
    this.#mutexes.set(key, entry);
    entry.tasks++;
    return entry.mutex.run(task).finally(() => {
      if (--entry.tasks === 0) this.#mutexes.delete(key);
    });
  }
}

/** Readers run concurrently, a writer runs alone. Neither overtakes earlier tasks. */
export class RwLock {
  #written: Promise<unknown> = Promise.resolve();
  readonly #readers = new Set<Promise<unknown>>();

  read<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#written.then(task);
    const settled: Promise<unknown> = result.catch(() => undefined).finally(() => this.#readers.delete(settled));
    this.#readers.add(settled);
    return result;
  }

  /** Runs after all earlier tasks have ended, and before any later task begins. */
  write<T>(task: () => Promise<T>): Promise<T> {
    const result = Promise.all([this.#written, ...this.#readers]).then(task);
    this.#written = result.catch(() => undefined);
    return result;
  }
}

/** Condition variable: every waiter checks its condition again after `notify`. */
export class Condition {
  #waiting: (() => void)[] = [];

  /** Waits for the next `notify`. @throws the signal's reason */
  wait(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const onAbort = () => reject(signal?.reason);
      this.#waiting.push(() => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      });
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** Waits until `state` returns true. @throws errors of `state` */
  async until(state: () => boolean): Promise<void> {
    while (!state()) await this.wait();
  }

  notify(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
