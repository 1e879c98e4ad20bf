import { MillraceError } from '@millrace/base';
import type { RootDatabase } from 'lmdb';
import { storeError } from './lmdb-errors.ts';

interface Task {
  /** Runs inside the write transaction, and may read what earlier tasks wrote. */
  readonly work: () => void;
  readonly resolve: () => void;
  readonly reject: (error: MillraceError) => void;
}

/** A transaction ends after this much, so that the event loop is not held for long. */
const GROUP_BYTES = 4 << 20;

/**
 * Group commit: everything asked for in one turn of the event loop goes into one transaction, one fdatasync.
 * lmdb's synchronous transactions are used: measured against its asynchronous ones, they alone report a failed commit
 * to the caller who asked, abort whole, and let compare-and-swap read inside the transaction.
 */
export class LmdbWriter {
  readonly #root: RootDatabase<Buffer, Buffer>;
  readonly #path: string;
  readonly #readOnly: boolean;
  #waiting: { task: Task; bytes: number }[] = [];
  #scheduled = false;
  #open = true;
  #idle: (() => void) | undefined;

  constructor(root: RootDatabase<Buffer, Buffer>, path: string, readOnly: boolean) {
    this.#root = root;
    this.#path = path;
    this.#readOnly = readOnly;
  }

  /** @param bytes About what `work` writes. */
  write(bytes: number, work: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      if (!this.#open) return reject(new MillraceError('E_STORE', 'the store is closed'));
      if (this.#readOnly) return reject(new MillraceError('E_STORE', `${this.#path} is open for reading only`));
      this.#waiting.push({ task: { work, resolve, reject }, bytes });
      this.#schedule();
    });
  }

  /** Ends after everything that was asked for before. */
  async close(): Promise<void> {
    this.#open = false;
    if (this.#waiting.length > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#commit(this.#nextGroup());
      if (this.#waiting.length > 0) this.#schedule();
      else this.#idle?.();
    });
  }

  #nextGroup(): Task[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#waiting.length && bytes < GROUP_BYTES) bytes += this.#waiting[count++]?.bytes ?? 0;
    return this.#waiting.splice(0, count).map(({ task }) => task);
  }

  #commit(group: readonly Task[]): void {
    try {
      this.#root.transactionSync(() => {
        for (const { work } of group) work();
      });
    } catch (error) {
      const coded = storeError(error, this.#path, 'a write failed and nothing of it was kept');
      for (const { reject } of group) reject(coded);
      return;
    }
    for (const { resolve } of group) resolve();
  }
}
