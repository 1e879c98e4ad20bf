import { createHash } from 'node:crypto';

/** What a simulated controller has executed. */
export class Executed {
  /** Commands of the host, in the order of their execution. */
  executed: string[] = [];
  readonly #own: RegExp;

  /** @param own matches the commands that the host sends on its own */
  constructor(own: RegExp) {
    this.#own = own;
  }

  /** The commands of the design. */
  get program(): string {
    return this.executed
      .filter((command) => !this.#own.test(command))
      .map((command) => `${command}\n`)
      .join('');
  }

  get sha256(): string {
    return createHash('sha256').update(this.program).digest('hex');
  }

  /** Forgets what was executed. */
  clear(): void {
    this.executed = [];
  }
}
