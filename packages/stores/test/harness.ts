import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '@millrace/base';
import type { CellsHarness, LogHarness, QueueHarness, RecordsHarness } from '../src/compliance/index.ts';
import {
  type Cells,
  type Lmdb,
  type Log,
  MemoryCells,
  MemoryLog,
  MemoryRecords,
  openLmdb,
  openLogQueue,
  type Queue,
  type RecordStore,
} from '../src/index.ts';
import { type Environment, openEnvironment } from '../src/lmdb.ts';
import { MapQueue } from '../src/map-queue.ts';
import { MemoryStore } from '../src/memory.ts';
import type { TransactionalStore } from '../src/port.ts';
import type { StoreHarness } from './store-cases.ts';

export function temporaryFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'millrace stores-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

class ManualClock implements Clock {
  #now = 1_700_000_000_000;
  now = () => this.#now;
  monotonic = () => this.#now;
  advance(milliseconds: number): void {
    this.#now += milliseconds;
  }
}

interface Engine extends StoreHarness {
  readonly store: TransactionalStore;
  reopen(): Promise<TransactionalStore>;
}

export const engines: Record<string, () => Promise<Engine>> = {
  memory: async () => {
    const store = new MemoryStore();
    return { store, reopen: async () => store, dispose: () => store.close() };
  },
  lmdb: async () => {
    const folder = temporaryFolder();
    const open: Environment[] = [openEnvironment({ path: folder.path })];
    const store = () => (open.at(-1) as Environment).store('test');
    return {
      store: store(),
      async reopen(): Promise<TransactionalStore> {
        await open.at(-1)?.close();
        open.push(openEnvironment({ path: folder.path }));
        return store();
      },
      async dispose() {
        await open.at(-1)?.close();
        folder.remove();
      },
    };
  },
};

export const recordEngines: Record<string, () => Promise<RecordsHarness>> = {
  memory: async () => {
    const records = new MemoryRecords();
    return { records, reopen: async () => records, dispose: () => records.close() };
  },
  lmdb: async () => {
    const folder = temporaryFolder();
    let lmdb = openLmdb({ path: folder.path });
    return {
      records: lmdb.records('test'),
      async reopen(): Promise<RecordStore> {
        await lmdb.close();
        lmdb = openLmdb({ path: folder.path });
        return lmdb.records('test');
      },
      async dispose() {
        await lmdb.close();
        folder.remove();
      },
    };
  },
};

export const logEngines: Record<string, () => Promise<LogHarness>> = {
  memory: async () => {
    const log = new MemoryLog();
    return { log, reopen: async () => log, dispose: () => log.close() };
  },
  lmdb: async () => {
    const folder = temporaryFolder();
    let lmdb = openLmdb({ path: folder.path });
    return {
      log: lmdb.log('test'),
      async reopen(): Promise<Log> {
        await lmdb.close();
        lmdb = openLmdb({ path: folder.path });
        return lmdb.log('test');
      },
      async dispose() {
        await lmdb.close();
        folder.remove();
      },
    };
  },
};

function lmdbCells(open: (lmdb: Lmdb, folder: string) => Promise<Cells>): () => Promise<CellsHarness> {
  return async () => {
    const folder = temporaryFolder();
    let lmdb = openLmdb({ path: folder.path });
    let cells = await open(lmdb, folder.path);
    const end = async () => {
      await cells.close();
      await lmdb.close();
    };
    return {
      cells,
      async reopen(): Promise<Cells> {
        await end();
        lmdb = openLmdb({ path: folder.path });
        cells = await open(lmdb, folder.path);
        return cells;
      },
      async dispose() {
        await end();
        folder.remove();
      },
    };
  };
}

export const cellsEngines: Record<string, () => Promise<CellsHarness>> = {
  memory: async () => {
    const cells = new MemoryCells();
    return { cells, reopen: async () => cells, dispose: () => cells.close() };
  },
  lmdb: lmdbCells(async (lmdb) => lmdb.cells('test')),
  'a file of slots': lmdbCells((lmdb, folder) =>
    lmdb.cellFile('test', { path: join(folder, 'cells.bin'), slotBytes: 16_384 }),
  ),
};

/** Opens a queue in a log, which each opening takes over. */
export function openQueueIn(open: () => Promise<LogHarness>): (rememberMs: number) => Promise<QueueHarness> {
  return async (rememberMs) => {
    const clock = new ManualClock();
    const { log, reopen, dispose } = await open();
    return {
      queue: await openLogQueue(log, { clock, rememberMs }),
      advance: (milliseconds) => clock.advance(milliseconds),
      reopen: async () => openLogQueue(await reopen(), { clock, rememberMs }),
      dispose,
    };
  };
}

/** Opens a queue over an engine. */
export function openQueueOn(engine: () => Promise<Engine>): (rememberMs: number) => Promise<QueueHarness> {
  return async (rememberMs) => {
    const clock = new ManualClock();
    const harness = await engine();
    const queueOn = (store: TransactionalStore): Queue => new MapQueue(store, { clock, rememberMs });
    return {
      queue: queueOn(harness.store),
      advance: (milliseconds) => clock.advance(milliseconds),
      reopen: async () => queueOn(await harness.reopen()),
      dispose: () => harness.dispose(),
    };
  };
}
