import { MillraceError } from '@millrace/base';
import type { RootDatabase } from 'lmdb';
import { storeError } from './lmdb-errors.ts';
import { LmdbSpace } from './lmdb-space.ts';

interface Task {
  /** Runs inside the write transaction and can read the writes of earlier tasks. */
  readonly work: () => void;
  readonly resolve: () => void;
  readonly reject: (error: MillraceError) => void;
}

interface Group {
  readonly tasks: readonly Task[];
  readonly bytes: number;
  readonly writes: number;
}

/** Maximum bytes of a transaction, so that it does not block the event loop for long. */
const GROUP_BYTES = 4 << 20;

/**
 * Group commit: all writes of one turn of the event loop share one transaction and one fdatasync. Uses lmdb's
 * synchronous transactions, because only they report a failed commit to its caller, abort as a whole, and let
 * compare-and-swap read inside the transaction.
 */
export class LmdbWriter {
  readonly #root: RootDatabase<Buffer, Buffer>;
  readonly #path: string;
  /** Undefined if the environment is read-only. */
  readonly #space: LmdbSpace | undefined;
  #waiting: { task: Task; bytes: number; writes: number }[] = [];
  #scheduled = false;
  #open = true;
  #idle: (() => void) | undefined;

  constructor(root: RootDatabase<Buffer, Buffer>, path: string, readOnly: boolean) {
    this.#root = root;
    this.#path = path;
    this.#space = readOnly ? undefined : new LmdbSpace(root, path);
  }

  /**
   * @param bytes upper bound of the sizes of keys and values that `work` writes
   * @param writes number of writes
   */
  write(bytes: number, writes: number, work: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      if (!this.#open) return reject(new MillraceError('E_STORE', 'the store is closed'));
      if (this.#space === undefined)
        return reject(new MillraceError('E_STORE', `${this.#path} is open for reading only`));
      this.#waiting.push({ task: { work, resolve, reject }, bytes, writes });
      this.#schedule();
    });
  }

  /** Resolves after all earlier tasks have ended. */
  async close(): Promise<void> {
    this.#open = false;
    if (this.#waiting.length > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
    this.#space?.close();
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

  #nextGroup(): Group {
    let bytes = 0;
    let writes = 0;
    let count = 0;
    for (; count < this.#waiting.length && bytes < GROUP_BYTES; count++) {
      bytes += this.#waiting[count]?.bytes ?? 0;
      writes += this.#waiting[count]?.writes ?? 0;
    }
    return { tasks: this.#waiting.splice(0, count).map(({ task }) => task), bytes, writes };
  }

  #commit({ tasks: group, bytes, writes }: Group): void {
    try {
      this.#space?.reserve(bytes, writes);
      this.#root.transactionSync(() => {
        for (const { work } of group) work();
      });
    } catch (error) {
      const coded = storeError(error, this.#path, 'a write failed; nothing of it was kept');
      for (const { reject } of group) reject(coded);
      return;
    }
    for (const { resolve } of group) resolve();
  }
}
