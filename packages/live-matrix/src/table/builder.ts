import type { HashKey } from '../engines/engine.ts';
import type { Order } from '../parameters.ts';
import type { TaskRunner } from './runner.ts';
import { allocateTable, PARTS, type Table, tableEntries } from './table.ts';

/** Values in one hashing task: some milliseconds of work. */
const HASH_CHUNK = 2 ** 15;

/**
 * Computes tables and keeps their memory: at most two tables, used over and over, and the list of codes that a table
 * is sorted from.
 */
export class TableBuilder {
  readonly #order: Order;
  readonly #runner: TaskRunner;
  readonly #free: Table[] = [];
  #codes: Uint32Array | undefined;

  constructor(order: Order, runner: TaskRunner) {
    this.#order = order;
    this.#runner = runner;
  }

  /** The inverse table of H under `key`; the caller gives its memory back with `release`. */
  async build(key: HashKey): Promise<Table> {
    const size = tableEntries(this.#order);
    this.#codes ??= new Uint32Array(new SharedArrayBuffer(4 * size));
    const all = this.#codes;
    const table = this.#free.pop() ?? allocateTable(this.#order);
    const chunks = Array.from({ length: Math.ceil(size / HASH_CHUNK) }, (_, i) => i * HASH_CHUNK);
    const counted = await Promise.all(
      chunks.map((first) => {
        const codes = all.subarray(first, Math.min(size, first + HASH_CHUNK));
        return this.#runner.run({ kind: 'hash', key, order: this.#order, first, codes }, false);
      }),
    );
    const starts = new Uint32Array(PARTS + 1);
    for (const counts of counted) {
      for (let part = 0; part < PARTS; part++) starts[part + 1] = (starts[part + 1] ?? 0) + (counts?.[part] ?? 0);
    }
    for (let part = 0; part < PARTS; part++) starts[part + 1] = (starts[part + 1] ?? 0) + (starts[part] ?? 0);
    await Promise.all(
      Array.from({ length: PARTS }, (_, part) => {
        const start = starts[part] ?? 0;
        return this.#runner.run({ kind: 'index', codes: all, order: this.#order, part, start, table }, false);
      }),
    );
    return table;
  }

  /** Wipes a table and keeps its memory for the next one. */
  async release(table: Table): Promise<void> {
    await this.#runner.run({ kind: 'wipe', table }, false);
    this.#free.push(table);
  }

  /** Wipes what a table was sorted from. */
  close(): void {
    this.#codes?.fill(0);
    this.#codes = undefined;
    this.#free.length = 0;
  }
}
