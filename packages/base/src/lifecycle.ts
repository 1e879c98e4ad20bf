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

/** Runs tasks one after the other in the order of their arrival. */
export class Serial {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(task: () => Promise<T> | T): Promise<T> {
    const result = this.#last.then(task, task);
    this.#last = result.catch(() => undefined);
    return result;
  }
}
