import { type Bytes, concatBytes, MillraceError, Mutex, toHex, u32be } from '@millrace/base';
import { checkCells, checkEpoch, checkIndex, checkIndexRange } from './cell-checks.ts';
import { CellEpochs } from './cell-epochs.ts';
import type { Cell, CellHead, CellIndex, Cells, IndexRange, NewCell } from './cells.ts';
import type { Range, TransactionalStore, Write } from './port.ts';

/** Cells removed per write while an epoch is dropped. */
const DROPPED = 256;

/** Cells in one ordered map. Keys are indexes, values are u32be(epoch) ‖ body. */
export class MapCells implements Cells {
  readonly #map: TransactionalStore;
  readonly #mutex = new Mutex();
  #epochs: Promise<CellEpochs> | undefined;
  #open = true;

  constructor(map: TransactionalStore) {
    this.#map = map;
  }

  async create(epoch: number): Promise<void> {
    checkEpoch(epoch);
    (await this.#load()).create(epoch);
  }

  async put(cells: readonly NewCell[]): Promise<void> {
    checkCells(cells);
    await this.#change(async (epochs) => {
      const taken = cells.filter(({ epoch }) => epochs.takes(epoch));
      const writes = taken.map(({ index, epoch, body }) => ({ put: index, value: concatBytes(u32be(epoch), body) }));
      await this.#write(epochs, writes);
    });
  }

  async get(index: CellIndex): Promise<Cell | undefined> {
    checkIndex(index);
    const value = await this.#map.get(index);
    return value && cellOf(value);
  }

  async heads(indexes: readonly CellIndex[]): Promise<(CellHead | undefined)[]> {
    for (const index of indexes) checkIndex(index);
    const values = await this.#map.getMany(indexes);
    return values.map((value, i) => value && headOf(new Uint8Array(indexes[i] ?? []), value));
  }

  async *outline(range: IndexRange = {}): AsyncGenerator<CellHead> {
    for await (const { key, value } of this.#map.range(rangeOf(range))) yield headOf(key, value);
  }

  async remove(indexes: readonly CellIndex[]): Promise<void> {
    for (const index of indexes) checkIndex(index);
    await this.#change((epochs) =>
      this.#write(
        epochs,
        indexes.map((index) => ({ delete: index })),
      ),
    );
  }

  async drop(epoch: number): Promise<void> {
    checkEpoch(epoch);
    await this.#change(async (epochs) => {
      epochs.close(epoch);
      if (epochs.hasClosed()) await this.#drop(epochs);
      epochs.prune();
    });
  }

  close(): Promise<void> {
    this.#open = false;
    return this.#map.close();
  }

  async #drop(epochs: CellEpochs): Promise<void> {
    let writes: Write[] = [];
    for await (const head of this.outline()) {
      if (!epochs.isClosed(head.epoch)) continue;
      writes.push({ delete: head.index });
      if (writes.length < DROPPED) continue;
      await this.#write(epochs, writes);
      writes = [];
    }
    await this.#write(epochs, writes);
  }

  /** Serializes changes, so that the counts of each epoch's cells are correct. */
  async #change(work: (epochs: CellEpochs) => Promise<void>): Promise<void> {
    const epochs = await this.#load();
    await this.#mutex.run(() => work(epochs));
  }

  async #write(epochs: CellEpochs, writes: readonly Write[]): Promise<void> {
    const keys = writes.map((write) => ('put' in write ? write.put : write.delete));
    const found = await this.#map.getMany(keys);
    await this.#map.batch(writes);
    const latest = new Map<string, number | undefined>();
    for (const [i, write] of writes.entries()) {
      const name = toHex(keys[i] ?? new Uint8Array());
      const old = found[i];
      const before = latest.has(name) ? latest.get(name) : old && cellOf(old).epoch;
      const after = 'put' in write ? cellOf(write.value).epoch : undefined;
      epochs.count(before, after);
      latest.set(name, after);
    }
  }

  #load(): Promise<CellEpochs> {
    if (!this.#open) return Promise.reject(new MillraceError('E_STORE', 'the store is closed'));
    this.#epochs ??= this.#count().catch((error: unknown) => {
      this.#epochs = undefined;
      throw error;
    });
    return this.#epochs;
  }

  async #count(): Promise<CellEpochs> {
    const epochs = new CellEpochs();
    for await (const { epoch } of this.outline()) epochs.count(undefined, epoch);
    return epochs;
  }
}

const EPOCH_BYTES = 4;

/** A value too short for an epoch is an empty cell of epoch 0. */
function cellOf(value: Uint8Array): Cell {
  if (value.length < EPOCH_BYTES) return { epoch: 0, body: new Uint8Array() };
  const epoch = new DataView(value.buffer, value.byteOffset).getUint32(0);
  return { epoch, body: value.subarray(EPOCH_BYTES) as Bytes };
}

function headOf(index: Bytes, value: Uint8Array): CellHead {
  const { epoch, body } = cellOf(value);
  return { index, epoch, length: body.length };
}

/** @throws {MillraceError} E_INPUT */
export function rangeOf(range: IndexRange): Range {
  checkIndexRange(range);
  const { after, upto } = range;
  return { ...(after && { gt: after }), ...(upto && { lte: upto }) };
}
