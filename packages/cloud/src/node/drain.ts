/**
 * Detects when all messages delivered before a given one are acknowledged. A released message is delivered again and
 * counts as unacknowledged until then.
 */
export class Drain {
  readonly #held = new Set<string>();
  readonly #waiting = new Set<{ readonly ids: Set<string>; readonly done: () => void }>();

  delivered(id: string): void {
    this.#held.add(id);
  }

  acknowledged(id: string): void {
    this.#held.delete(id);
    for (const waiting of [...this.#waiting]) {
      waiting.ids.delete(id);
      this.#settle(waiting);
    }
  }

  /** Calls `done` when all messages delivered until now, except `id` itself, are acknowledged. */
  after(id: string, done: () => void): void {
    const waiting = { ids: new Set([...this.#held].filter((other) => other !== id)), done };
    this.#waiting.add(waiting);
    this.#settle(waiting);
  }

  #settle(waiting: { readonly ids: Set<string>; readonly done: () => void }): void {
    if (waiting.ids.size > 0 || !this.#waiting.delete(waiting)) return;
    waiting.done();
  }
}
