import { MemoryLog, MemoryQueue, MemoryRecords } from '@millrace/stores';
import { MemoryStore } from '@millrace/stores/parts';
import type { ControlStores } from '../control-fixture.ts';

const WRITES = new Set<string | symbol>(['put', 'delete', 'batch', 'compareAndSwap', 'swap']);

/** The disk of one process, in memory. The process can be killed before one of its writes. */
export class Disk {
  readonly #maps: readonly [MemoryStore, MemoryStore, MemoryStore];
  /** The process that has opened the disk, and how many writes it makes before it is killed. */
  #process = { writesLeft: Number.POSITIVE_INFINITY };

  constructor(maps = [new MemoryStore(), new MemoryStore(), new MemoryStore()] as const) {
    this.#maps = maps;
  }

  /** Opens the stores for a new process. An earlier one writes nothing any more. */
  open(): ControlStores {
    this.#process.writesLeft = 0;
    const process = { writesLeft: Number.POSITIVE_INFINITY };
    this.#process = process;
    const [records, log, mail] = this.#maps.map((map) => guarded(map, process)) as [
      MemoryStore,
      MemoryStore,
      MemoryStore,
    ];
    return { records: new MemoryRecords(records), log: new MemoryLog(log), mail: new MemoryQueue(undefined, mail) };
  }

  /** The process that has the disk open is killed after so many more writes. */
  killAfter(writes: number): void {
    this.#process.writesLeft = writes;
  }

  /** Whether the process has been killed at a write. */
  get killed(): boolean {
    return this.#process.writesLeft < 0;
  }

  async copy(): Promise<Disk> {
    const [records, log, mail] = this.#maps;
    return new Disk([await copyOf(records), await copyOf(log), await copyOf(mail)]);
  }
}

function guarded(map: MemoryStore, process: { writesLeft: number }): MemoryStore {
  return new Proxy(map, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...given: unknown[]) => {
        if (WRITES.has(name) && process.writesLeft-- <= 0) {
          process.writesLeft = -1;
          return Promise.reject(new Error('the process was killed'));
        }
        return value.apply(target, given);
      };
    },
  });
}

async function copyOf(map: MemoryStore): Promise<MemoryStore> {
  const copy = new MemoryStore();
  for await (const { key, value } of map.range()) await copy.put(key, value);
  return copy;
}
