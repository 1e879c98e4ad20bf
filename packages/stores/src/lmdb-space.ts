import { closeSync, fstatSync, futimesSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { RootDatabase } from 'lmdb';

const ZEROS = new Uint8Array(1 << 20);
/** The file grows by at least this much. */
const GROWTH = 256 << 10;
/** Pages that one write may copy: the path to its leaf, and their halves when they split. */
const PAGES_A_WRITE = 8;
const SPARE_PAGES = 64;

/**
 * Lengthens the file before a transaction that could, so that LMDB itself never meets a full disk: version 3.5 writes past a
 * buffer of its own when the system refuses a write (`sprintf` into 100 bytes, in mdb_page_flush), and the process ends later,
 * anywhere. A disk that the system has made read-only is met here too. A file that copies on write (btrfs, ZFS) can still
 * be refused.
 */
export class LmdbSpace {
  readonly #root: RootDatabase<Buffer, Buffer>;
  /** Undefined where LMDB lengthens the file by itself. */
  readonly #file: number | undefined;
  #length = 0;

  constructor(root: RootDatabase<Buffer, Buffer>, path: string) {
    this.#root = root;
    if (process.platform === 'win32') return;
    this.#file = openSync(join(path, 'data.mdb'), 'r+');
    this.#length = fstatSync(this.#file).size;
  }

  /**
   * @param bytes of keys and values, at most
   * @throws the system's error: nothing has been changed
   */
  reserve(bytes: number, writes: number): void {
    if (this.#file === undefined) return;
    const now = Date.now() / 1_000;
    futimesSync(this.#file, now, now); // what the write would do to it anyway
    const { pageSize, lastPageNumber } = this.#root.getStats() as { pageSize: number; lastPageNumber: number };
    const pages = Math.min(PAGES_A_WRITE * writes, lastPageNumber) + Math.ceil((2 * bytes) / pageSize) + SPARE_PAGES;
    const wanted = (lastPageNumber + 1 + pages) * pageSize;
    if (wanted <= this.#length) return;
    // LMDB may have made it longer.
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
