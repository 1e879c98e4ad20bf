import type { TableOrder } from '../parameters.ts';
import { allocateTable, type HintTable } from './hint-table.ts';

/**
 * Memory of tables that nobody uses, kept for the next receiver: what is dropped instead waits for the garbage
 * collector, 70 MB each, while the next receiver takes as much again. Tables in here are wiped; with the native
 * engine on Linux they hold no memory of the system's.
 */
export class TableMemory {
  readonly #free: HintTable[] = [];

  take(order: TableOrder): HintTable {
    const at = this.#free.findIndex((table) => table.order === order);
    return this.#free.splice(at, at < 0 ? 0 : 1)[0] ?? allocateTable(order);
  }

  /** @param table wiped, and used by nobody any more */
  give(table: HintTable): void {
    this.#free.push(table);
  }
}
