/** Condition variable: every waiter checks its condition again after `notify`. */
export class Turn {
  #waiting: (() => void)[] = [];

  /** Until the next `notify`. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  notify(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
