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

/** Tasks of the one kind run side by side, those of the other alone; neither overtakes what came before it. */
export class Gate {
  #alone: Promise<unknown> = Promise.resolve();
  readonly #shared = new Set<Promise<unknown>>();

  /** Runs beside other shared tasks. */
  share<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#alone.then(task);
    const settled: Promise<unknown> = result.catch(() => undefined).finally(() => this.#shared.delete(settled));
    this.#shared.add(settled);
    return result;
  }

  /** Runs when everything before it has ended, and before everything after it begins. */
  alone<T>(task: () => Promise<T>): Promise<T> {
    const result = Promise.all([this.#alone, ...this.#shared]).then(task);
    this.#alone = result.catch(() => undefined);
    return result;
  }
}

/** Runs tasks one after the other in the order of their arrival. */
export class Serial {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(task: () => Promise<T> | T): Promise<T> {
    const result = this.#last.then(task, task);
    this.#last = result.catch(() => undefined);
    return result;
  }
}
