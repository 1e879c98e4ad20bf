import { copyBytes } from '@millrace/base';

export interface BatchOptions {
  /** Most commands in a batch. */
  readonly lines: number;
  /** Most batches that may be unanswered. */
  readonly inFlight: number;
  /** Sends a batch and wipes its commands. */
  readonly send: (id: number, commands: readonly Uint8Array[]) => void;
}

/**
 * The stream to a controller that takes several commands at once and answers each batch. The first command leaves at
 * once; commands that come while a batch is out are collected, so batches grow when the controller is slow.
 */
export class Batches {
  readonly #options: BatchOptions;
  readonly #waiting: Uint8Array[] = [];
  readonly #sent = new Map<number, number>();
  #next = 1;

  constructor(options: BatchOptions) {
    this.#options = options;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0 && this.#sent.size === 0;
  }

  get hasRoom(): boolean {
    return this.#waiting.length < this.#options.lines;
  }

  add(command: Uint8Array): void {
    this.#waiting.push(copyBytes(command));
    this.#pump();
  }

  /** A number that no batch has. */
  takeNumber(): number {
    return this.#next++;
  }

  /** The controller has taken a batch. @returns the number of its commands; 0 for a batch that is not out */
  answered(id: number): number {
    const count = this.#sent.get(id) ?? 0;
    this.#sent.delete(id);
    this.#pump();
    return count;
  }

  reset(): void {
    for (const command of this.#waiting.splice(0)) command.fill(0);
    this.#sent.clear();
  }

  #pump(): void {
    const { inFlight, send } = this.#options;
    while (this.#waiting.length > 0 && this.#sent.size < inFlight) {
      const commands = this.#waiting.splice(0);
      const id = this.takeNumber();
      this.#sent.set(id, commands.length);
      send(id, commands);
    }
  }
}
