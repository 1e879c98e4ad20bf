import type { TableOrder } from '../parameters.ts';
import { allocateTable, type HintTable } from './hint-table.ts';

/**
 * Pool of unused tables for the next receiver. Dropped tables would wait for the garbage collector, 70 MB each, while
 * the next receiver allocates new ones. Tables in the pool are wiped. With the native engine on Linux they hold no
 * physical memory.
 */
export class TableMemory {
  readonly #free: HintTable[] = [];

  take(order: TableOrder): HintTable {
    const at = this.#free.findIndex((table) => table.order === order);
    return this.#free.splice(at, at < 0 ? 0 : 1)[0] ?? allocateTable(order);
  }

  /** @param table wiped, and no longer in use */
  give(table: HintTable): void {
    this.#free.push(table);
  }
}
