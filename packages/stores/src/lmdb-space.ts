import { closeSync, fstatSync, futimesSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { RootDatabase } from 'lmdb';

const ZEROS = new Uint8Array(1 << 20);
/** Minimum growth of the file, bytes. */
const GROWTH = 256 << 10;
/** Pages that one write may copy: the path to its leaf, and the new halves if pages split. */
const PAGES_A_WRITE = 8;
const SPARE_PAGES = 64;

/**
 * Extends the file before a transaction that may need it, so that LMDB never meets a full disk. When the system refuses
 * a write, lmdb 3.5 overflows a buffer (`sprintf` into 100 bytes, in mdb_page_flush), and the process crashes later.
 * This also detects a read-only disk. On copy-on-write file systems (btrfs, ZFS) a write can still fail.
 */
export class LmdbSpace {
  readonly #root: RootDatabase<Buffer, Buffer>;
  /** Undefined if LMDB extends the file itself. */
  readonly #file: number | undefined;
  #length = 0;

  constructor(root: RootDatabase<Buffer, Buffer>, path: string) {
    this.#root = root;
    if (process.platform === 'win32') return;
    this.#file = openSync(join(path, 'data.mdb'), 'r+');
    this.#length = fstatSync(this.#file).size;
  }

  /**
   * @param bytes upper bound of the sizes of keys and values
   * @throws the system's error; nothing has changed
   */
  reserve(bytes: number, writes: number): void {
    if (this.#file === undefined) return;
    const now = Date.now() / 1_000;
    futimesSync(this.#file, now, now); // LMDB's write would change the time anyway
    const { pageSize, lastPageNumber } = this.#root.getStats() as { pageSize: number; lastPageNumber: number };
    const pages = Math.min(PAGES_A_WRITE * writes, lastPageNumber) + Math.ceil((2 * bytes) / pageSize) + SPARE_PAGES;
    const wanted = (lastPageNumber + 1 + pages) * pageSize;
    if (wanted <= this.#length) return;
    // LMDB may have extended the file.
    this.#length = Math.max(this.#length, fstatSync(this.#file).size);
    while (this.#length < wanted) {
      const step = Math.min(ZEROS.length, Math.max(GROWTH, wanted - this.#length));
      this.#length += writeSync(this.#file, ZEROS, 0, step, this.#length);
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
  }
}
