import { type Clock, MillraceError, systemClock } from '@millrace/base';
import { open, type RootDatabase } from 'lmdb';
import { type CellFile, type CellFileOptions, openCellFile } from './cell-file/cell-file.ts';
import type { Cells } from './cells.ts';
import { storeError } from './lmdb-errors.ts';
import { checkLmdbFile } from './lmdb-file.ts';
import { type LmdbDatabase, LmdbStore } from './lmdb-store.ts';
import { LmdbWriter } from './lmdb-writer.ts';
import type { Log } from './log.ts';
import { MapCells } from './map-cells.ts';
import { MapLog } from './map-log.ts';
import { MapQueue } from './map-queue.ts';
import { MapRecords } from './map-records.ts';
import type { TransactionalStore } from './port.ts';
import type { Queue } from './queue.ts';
import type { RecordStore } from './records.ts';

export interface LmdbOptions {
  /** Folder for this environment only; created if it is missing. */
  readonly path: string;
  /** Opens the environment for reading only. Another process may write. */
  readonly readOnly?: boolean;
  /** Initial address space, bytes; it grows. Default 16 GiB. No memory is allocated for it. */
  readonly mapSize?: number;
  readonly clock?: Clock;
}

/**
 * Ports by name. The same name returns the same object, except for files of cells.
 * @throws {MillraceError} E_NOT_FOUND in a read-only environment without that name
 */
export interface Lmdb {
  records(name: string): RecordStore;
  log(name: string): Log;
  queue(name: string): Queue;
  cells(name: string): Cells;
  /**
   * Cells in a file of slots, with their index in this environment. Close it before the environment.
   * @throws {MillraceError} E_STORE, E_READ_ONLY
   */
  cellFile(name: string, options: CellFileOptions): Promise<CellFile>;
  close(): Promise<void>;
}

/**
 * One LMDB environment for a data folder, with several named stores. Every write is flushed with fdatasync before its
 * promise resolves; writes of one turn of the event loop share a transaction. Only one process may write.
 * @throws {MillraceError} E_STORE if the folder or its file cannot be opened
 */
export function openLmdb(options: LmdbOptions): Lmdb {
  return openEnvironment(options);
}

/** Like `openLmdb`, with the ordered maps on which the ports are built. */
export function openEnvironment(options: LmdbOptions): Environment {
  checkLmdbFile(options.path);
  let root: RootDatabase<Buffer, Buffer>;
  try {
    root = open({
      path: options.path,
      noSubdir: false,
      encoding: 'binary',
      keyEncoding: 'binary',
      readOnly: options.readOnly ?? false,
      // LMDB's default commits: data and meta page are on the medium when the commit returns.
      overlappingSync: false,
      maxDbs: 128,
      // Windows would make the file as large as the map.
      ...(process.platform === 'win32' && options.mapSize === undefined ? {} : { mapSize: options.mapSize ?? 2 ** 34 }),
    });
  } catch (error) {
    throw storeError(error, options.path, 'cannot open the store');
  }
  return new Environment(root, options);
}

export class Environment implements Lmdb {
  readonly #root: RootDatabase<Buffer, Buffer>;
  readonly #options: LmdbOptions;
  readonly #writer: LmdbWriter;
  readonly #stores = new Map<string, TransactionalStore>();
  readonly #records = new Map<string, RecordStore>();
  readonly #logs = new Map<string, Log>();
  readonly #queues = new Map<string, Queue>();
  readonly #cells = new Map<string, Cells>();
  #closed: Promise<void> | undefined;

  constructor(root: RootDatabase<Buffer, Buffer>, options: LmdbOptions) {
    this.#root = root;
    this.#options = options;
    this.#writer = new LmdbWriter(root, options.path, options.readOnly ?? false);
  }

  store(name: string): TransactionalStore {
    return memo(this.#stores, name, () => new LmdbStore(this.#database(name), this.#writer, this.#options.path));
  }

  records(name: string): RecordStore {
    return memo(this.#records, name, () => new MapRecords(this.store(name)));
  }

  log(name: string): Log {
    return memo(this.#logs, name, () => new MapLog(this.store(name)));
  }

  cells(name: string): Cells {
    return memo(this.#cells, name, () => new MapCells(this.store(name)));
  }

  cellFile(name: string, options: CellFileOptions): Promise<CellFile> {
    return openCellFile(this.store(name), options);
  }

  queue(name: string): Queue {
    return memo(
      this.#queues,
      name,
      () => new MapQueue(this.store(name), { clock: this.#options.clock ?? systemClock }),
    );
  }

  close(): Promise<void> {
    this.#closed ??= (async () => {
      for (const queue of this.#queues.values()) await queue.close();
      for (const store of this.#stores.values()) await store.close();
      await this.#writer.close();
      await this.#root.close();
    })();
    return this.#closed;
  }

  #database(name: string): LmdbDatabase {
    if (this.#closed !== undefined) throw new MillraceError('E_STORE', 'the store is closed');
    try {
      const database: LmdbDatabase | undefined = this.#root.openDB<Uint8Array, Uint8Array>({
        name,
        encoding: 'binary',
        keyEncoding: 'binary',
      });
      if (database !== undefined) return database;
    } catch (error) {
      throw storeError(error, this.#options.path, `cannot open store ${name}`);
    }
    throw new MillraceError('E_NOT_FOUND', `no store ${name} in ${this.#options.path}`);
  }
}

function memo<T>(map: Map<string, T>, name: string, make: () => T): T {
  const made = map.get(name) ?? make();
  map.set(name, made);
  return made;
}
