import type { HashKey } from '../engines/engine.ts';
import type { Order } from '../parameters.ts';
import type { TaskRunner } from './runner.ts';
import {
  allocateScratch,
  allocateTable,
  SUPERBLOCK,
  type Table,
  type TableBuild,
  tableParts,
  wipeTable,
} from './table.ts';
import type { Task } from './tasks.ts';

/** Values in one hashing task: one superblock, some milliseconds of work whatever the engine. */
const HASH_CHUNK = SUPERBLOCK;
/** Parts in one sorting task. */
const INDEX_CHUNK = 16;

/** Computes tables and keeps their memory: at most two tables, used over and over, and the scratch of one. */
export class TableBuilder {
  readonly #order: Order;
  readonly #runner: TaskRunner;
  readonly #free: Table[] = [];
  #scratch: Omit<TableBuild, 'table'> | undefined;
  #building: Table | undefined;

  constructor(order: Order, runner: TaskRunner) {
    this.#order = order;
    this.#runner = runner;
  }

  /** The inverse table of H under `key`; the caller gives its memory back with `release`. */
  async build(key: HashKey): Promise<Table> {
    this.#scratch ??= allocateScratch(this.#order);
    const table = this.#free.pop() ?? allocateTable(this.#order);
    const build: TableBuild = { table, ...this.#scratch };
    this.#building = table;
    build.cursors.fill(0);
    await this.#each(2 ** this.#order, HASH_CHUNK, (first, count) => ({ kind: 'partition', key, build, first, count }));
    await this.#each(tableParts(this.#order), INDEX_CHUNK, (first, count) => ({ kind: 'index', build, first, count }));
    this.#building = undefined;
    return table;
  }

  /** Wipes a table and keeps its memory for the next one. */
  async release(table: Table): Promise<void> {
    await this.#runner.run({ kind: 'wipe', table }, false);
    this.#free.push(table);
  }

  /** Wipes what was left unfinished. The runner is closed before. */
  close(): void {
    if (this.#building !== undefined) wipeTable(this.#building);
    this.#building = undefined;
    this.#scratch = undefined;
    this.#free.length = 0;
  }

  async #each(size: number, chunk: number, task: (first: number, count: number) => Task): Promise<void> {
    const firsts = Array.from({ length: Math.ceil(size / chunk) }, (_, i) => i * chunk);
    await Promise.all(firsts.map((first) => this.#runner.run(task(first, Math.min(chunk, size - first)), false)));
  }
}
