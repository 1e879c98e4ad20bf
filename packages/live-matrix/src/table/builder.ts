import { MillraceError } from '@millrace/base/core';
import type { HashEngine, HashKey } from '../engines/engine.ts';
import type { TableOrder } from '../parameters.ts';
import { allocateScratch, type HintTable, SUPERBLOCK, type TableBuild, tableParts } from './hint-table.ts';
import type { TableMemory } from './memory.ts';
import type { TaskRunner } from './runner.ts';
import type { Task } from './tasks.ts';

/** Values in one hashing task: one superblock, a few milliseconds with any engine. */
const HASH_CHUNK = SUPERBLOCK;
/** Parts in one sorting task. */
const INDEX_CHUNK = 16;

/** Hashes a table's values outside the runner's threads: on a graphics card. */
export interface TableFiller {
  readonly name: 'gpu';
  /**
   * Distributes every value to its part of the table.
   * @throws {MillraceError} E_ENGINE if the filler failed; the signal's reason if it aborts
   */
  fill(key: HashKey, build: TableBuild, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export interface BuilderParts {
  readonly runner: TaskRunner;
  readonly engine: HashEngine;
  readonly memory: TableMemory;
  readonly filler?: TableFiller | undefined;
  /** Called with one line when the filler has failed and is no longer used. */
  readonly note?: (line: string) => void;
}

/**
 * Computes a receiver's tables: at most two at a time, in reused memory, with scratch memory for one. Once a filler has
 * failed, the runner's threads do its work.
 */
export class TableBuilder {
  readonly #order: TableOrder;
  readonly #runner: TaskRunner;
  readonly #engine: HashEngine;
  readonly #memory: TableMemory;
  /** Tables in use. */
  readonly #taken = new Set<HintTable>();
  readonly #free: HintTable[] = [];
  #scratch: Omit<TableBuild, 'table'> | undefined;
  #filler: TableFiller | undefined;
  /** Settles when the filler no longer writes. */
  #filling: Promise<unknown> = Promise.resolve();
  readonly #note: (line: string) => void;
  readonly #stop = new AbortController();

  constructor(order: TableOrder, { runner, engine, memory, filler, note = () => undefined }: BuilderParts) {
    this.#order = order;
    this.#runner = runner;
    this.#engine = engine;
    this.#memory = memory;
    this.#filler = filler;
    this.#note = note;
  }

  /** Current source of tables, if not the runner's engine. */
  get filler(): TableFiller['name'] | undefined {
    return this.#filler?.name;
  }

  /**
   * Builds the inverse table of H under `key`.
   * @param base g of the table's value 0
   */
  async build(key: HashKey, base = 0): Promise<HintTable> {
    this.#scratch ??= allocateScratch(this.#order);
    const table = this.#free.pop() ?? this.#memory.take(this.#order);
    this.#taken.add(table);
    const build: TableBuild = { table, base, ...this.#scratch };
    if (this.#filler === undefined || !(await this.#fill(this.#filler, key, build))) {
      build.cursors.fill(0);
      await this.#each(2 ** this.#order, HASH_CHUNK, (first, count) => ({
        kind: 'partition',
        key,
        build,
        first,
        count,
      }));
    }
    await this.#each(tableParts(this.#order), INDEX_CHUNK, (first, count) => ({ kind: 'index', build, first, count }));
    return table;
  }

  /** Wipes a table. The next one reuses its memory. */
  async release(table: HintTable): Promise<void> {
    await this.#runner.run({ kind: 'wipe', table }, false);
    this.#free.push(table);
  }

  /** Transfers ownership of a table to the caller, who wipes it. */
  handOver(table: HintTable): void {
    this.#taken.delete(table);
  }

  /** Returns false if the filler has failed. */
  async #fill(filler: TableFiller, key: HashKey, build: TableBuild): Promise<boolean> {
    try {
      const filling = filler.fill(key, build, this.#stop.signal);
      this.#filling = filling.catch(() => undefined);
      await filling;
      return true;
    } catch (error) {
      if (!(error instanceof MillraceError && error.code === 'E_ENGINE') || this.#stop.signal.aborted) throw error;
      this.#filler = undefined;
      this.#note(`the graphics card is no longer used for tables: ${String(error.cause ?? error.message)}`);
      await filler.close().catch(() => undefined);
      return false;
    }
  }

  /** Wipes all tables, including those in use, and releases their memory. Close the runner first. */
  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_STATE', 'the receiver was closed'));
    await this.#filling;
    await this.#filler?.close();
    for (const table of this.#taken) {
      this.#engine.discard(table);
      this.#memory.give(table);
    }
    this.#taken.clear();
    this.#free.length = 0;
    this.#scratch = undefined;
  }

  async #each(size: number, chunk: number, task: (first: number, count: number) => Task): Promise<void> {
    const firsts = Array.from({ length: Math.ceil(size / chunk) }, (_, i) => i * chunk);
    await Promise.all(firsts.map((first) => this.#runner.run(task(first, Math.min(chunk, size - first)), false)));
  }
}
