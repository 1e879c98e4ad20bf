import { type FileHandle, open } from 'node:fs/promises';
import {
  type Bytes,
  concatBytes,
  copyBytes,
  diskCode,
  diskText,
  equalBytes,
  MillraceError,
  Mutex,
  toHex,
  u32be,
} from '@millrace/base';
import { checkCells, checkEpoch, checkIndex } from '../cell-checks.ts';
import { CellEpochs } from '../cell-epochs.ts';
import type { Cell, CellHead, CellIndex, Cells, IndexRange, NewCell } from '../cells.ts';
import { rangeOf } from '../map-cells.ts';
import type { TransactionalStore } from '../port.ts';
import { Flusher } from './flusher.ts';
import { type CellRecord, decodeRecord, EPOCH_BYTES, encodeRecord, epochOf, MAX_HEAD } from './record.ts';
import { SlotMap } from './slot-map.ts';

export interface CellFileOptions {
  /** The file of slots, created if it is missing. */
  readonly path: string;
  /**
   * Size of a slot, bytes. A body of this size, or up to 60 bytes more, has its last bytes in a slot. Any other body is
   * in the index.
   */
  readonly slotBytes: number;
}

/** The parts of a store that the index of a cell file needs. The file is the only user of that store. */
export type CellFileIndex = Pick<TransactionalStore, 'get' | 'getMany' | 'range' | 'batch'>;

/** Data of a cell in the index. */
export interface SlotEntry {
  readonly epoch: number;
  /** Length of the body, bytes. */
  readonly length: number;
  /** Slot with the last bytes of the body; undefined if the whole body is in the index. */
  readonly slot: number | undefined;
  /** The first bytes of the body, which are in the index. */
  readonly bodyHead: Bytes;
}

/** A cell whose last bytes are already in its slot, and flushed. */
export interface SlottedCell {
  readonly index: CellIndex;
  readonly epoch: number;
  readonly slot: number;
  readonly bodyHead: Uint8Array;
}

/** Changes applied by one write of the index. */
export interface CellFileStep {
  readonly placed: readonly SlottedCell[];
  readonly cells: readonly NewCell[];
  readonly remove: readonly CellIndex[];
}

/**
 * Opens a file of cells, even a truncated one: cells past its end are removed from the index, so that checks report
 * them missing.
 * @throws {MillraceError} E_STORE if the file cannot be opened, if it is missing although the index is not empty, or if
 *   two cells have the same slot in the index; E_READ_ONLY
 */
export async function openCellFile(index: CellFileIndex, options: CellFileOptions): Promise<CellFile> {
  const { path, slotBytes } = options;
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r+').catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      for await (const { value } of index.range())
        if ('slot' in decodeRecord(value))
          throw new MillraceError('E_STORE', `${path} is missing: put it back, or restore the data folder`);
      return open(path, 'wx+', 0o600);
    });
    const slots = new SlotMap(Math.floor((await file.stat()).size / slotBytes));
    const epochs = new CellEpochs();
    const lost: CellIndex[] = [];
    for await (const { key, value } of index.range()) {
      const record = decodeRecord(value);
      if (!('slot' in record) || slots.mark(record.slot)) {
        epochs.count(undefined, epochOf(record));
        continue;
      }
      if (record.slot < slots.count)
        throw new MillraceError('E_STORE', `${path} is damaged: cell ${toHex(key)} shares a slot with another cell`);
      lost.push(key);
    }
    for (let from = 0; from < lost.length; from += LOOKED)
      await index.batch(lost.slice(from, from + LOOKED).map((key) => ({ delete: key })));
    return new CellFile({ index, file, path, slots, slotBytes, epochs, lost: lost.length });
  } catch (error) {
    await file?.close();
    throw fileError(error, path);
  }
}

/**
 * Cells in a flat file of slots, with an index of small records in another store. Slots are written and flushed before
 * the index refers to them. A crash can therefore leave only unused slots, which are free when the file is opened
 * again. A slot is reused only after the index has durably removed it. `commit` is for callers that rewrite cells
 * inside the file in their own threads: one write of the index changes many cells.
 */
export class CellFile implements Cells {
  readonly #index: CellFileIndex;
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #slots: SlotMap;
  readonly #epochs: CellEpochs;
  readonly #flusher: Flusher;
  readonly #mutex = new Mutex();
  #open = true;
  readonly slotBytes: number;
  /** Number of cells that were missing from the file when it was opened. */
  readonly lost: number;

  constructor(parts: {
    index: CellFileIndex;
    file: FileHandle;
    path: string;
    slots: SlotMap;
    slotBytes: number;
    epochs: CellEpochs;
    lost: number;
  }) {
    this.#index = parts.index;
    this.#file = parts.file;
    this.#path = parts.path;
    this.#slots = parts.slots;
    this.#epochs = parts.epochs;
    this.#flusher = new Flusher(() => parts.file.datasync());
    this.slotBytes = parts.slotBytes;
    this.lost = parts.lost;
  }

  async create(epoch: number): Promise<void> {
    this.#checkOpen();
    checkEpoch(epoch);
    this.#epochs.create(epoch);
  }

  async put(cells: readonly NewCell[]): Promise<void> {
    await this.commit({ placed: [], cells, remove: [] });
  }

  async get(index: CellIndex): Promise<Cell | undefined> {
    this.#checkOpen();
    checkIndex(index);
    for (;;) {
      const bytes = await this.#index.get(index);
      if (bytes === undefined) return undefined;
      const { epoch, slot, bodyHead } = this.#entryOf(decodeRecord(bytes));
      if (slot === undefined) return { epoch, body: bodyHead };
      const body = await this.#read(slot, bodyHead);
      // The slot may have been reused while it was read. Check the index again.
      const again = await this.#index.get(index);
      if (again !== undefined && equalBytes(again, bytes)) return { epoch, body };
    }
  }

  async heads(indexes: readonly CellIndex[]): Promise<(CellHead | undefined)[]> {
    const entries = await this.entries(indexes);
    return entries.map((entry, i) => {
      const index = copyBytes(indexes[i] ?? new Uint8Array());
      return entry && { index, epoch: entry.epoch, length: entry.length };
    });
  }

  async *outline(range: IndexRange = {}): AsyncGenerator<CellHead> {
    this.#checkOpen();
    for await (const { key, value } of this.#index.range(rangeOf(range))) {
      const { epoch, length } = this.#entryOf(decodeRecord(value));
      yield { index: key, epoch, length };
    }
  }

  async remove(indexes: readonly CellIndex[]): Promise<void> {
    await this.commit({ placed: [], cells: [], remove: indexes });
  }

  async drop(epoch: number): Promise<void> {
    this.#checkOpen();
    checkEpoch(epoch);
    await this.#mutex.run(async () => {
      this.#epochs.close(epoch);
      if (this.#epochs.hasClosed()) await this.#removeClosed();
      this.#epochs.prune();
    });
  }

  /** Looks up cells in the index, without reading the file. */
  async entries(indexes: readonly CellIndex[]): Promise<(SlotEntry | undefined)[]> {
    this.#checkOpen();
    for (const index of indexes) checkIndex(index);
    const found = await this.#index.getMany(indexes);
    return found.map((bytes) => bytes && this.#entryOf(decodeRecord(bytes)));
  }

  /** File descriptor, for reading and writing slots. */
  get fd(): number {
    this.#checkOpen();
    return this.#file.fd;
  }

  /** Takes free slots. They belong to the caller until `commit` or `release`, or until the file is opened again. */
  take(count: number): number[] {
    return Array.from({ length: count }, () => this.#slots.take());
  }

  release(slots: readonly number[]): void {
    for (const slot of slots) this.#slots.release(slot);
  }

  /** Resolves when all earlier writes to the file are on the medium. */
  async flush(): Promise<void> {
    try {
      await this.#flusher.flush();
    } catch (error) {
      throw fileError(error, this.#path);
    }
  }

  /**
   * Applies the changes of a step durably, by one write of the index. If it fails, the slots of `placed` are free
   * again.
   */
  async commit({ placed, cells, remove }: CellFileStep): Promise<void> {
    this.#checkOpen();
    checkCells(cells);
    for (const index of remove) checkIndex(index);
    const taken = placed.map(({ slot }) => slot);
    const writes: IndexWrite[] = placed.map(({ index, epoch, slot, bodyHead }) => ({
      index,
      record: { slot, head: concatBytes(u32be(epoch), bodyHead) },
    }));
    try {
      for (const { epoch } of [...placed, ...cells]) this.#epochs.takes(epoch);
      for (const write of await this.#place(cells)) writes.push(write);
    } catch (error) {
      this.release(taken);
      throw error;
    }
    for (const index of remove) writes.push({ index, record: undefined });
    if (writes.length > 0) await this.#mutex.run(() => this.#write(writes));
  }

  /** Number of slots in the file, and number of slots that hold cells. */
  usage(): { slots: number; taken: number } {
    return { slots: this.#slots.count, taken: this.#slots.taken };
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#mutex.run(() => this.#flusher.idle());
    await this.#file.close();
  }

  #entryOf(record: CellRecord): SlotEntry {
    const epoch = epochOf(record);
    if ('value' in record) {
      const bodyHead = record.value.subarray(EPOCH_BYTES);
      return { epoch, length: bodyHead.length, slot: undefined, bodyHead };
    }
    const bodyHead = record.head.subarray(EPOCH_BYTES);
    return { epoch, length: bodyHead.length + this.slotBytes, slot: record.slot, bodyHead };
  }

  /** Writes bodies to free slots, durably. */
  async #place(cells: readonly NewCell[]): Promise<IndexWrite[]> {
    const parts: { slot: number; bytes: Uint8Array }[] = [];
    const writes = cells.map(({ index, epoch, body }): IndexWrite => {
      const inIndex = body.length - this.slotBytes;
      if (inIndex < 0 || inIndex + EPOCH_BYTES > MAX_HEAD)
        return { index, record: { value: concatBytes(u32be(epoch), body) } };
      const slot = this.#slots.take();
      parts.push({ slot, bytes: body.subarray(inIndex) });
      return { index, record: { slot, head: concatBytes(u32be(epoch), body.subarray(0, inIndex)) } };
    });
    try {
      for (let start = 0, end = 1; end <= parts.length; end++) {
        if (end < parts.length && parts[end]?.slot === (parts[end - 1]?.slot ?? 0) + 1 && end - start < RUN) continue;
        await this.#writeRun(parts.slice(start, end));
        start = end;
      }
      if (parts.length > 0) await this.#flusher.flush();
      return writes;
    } catch (error) {
      this.release(parts.map(({ slot }) => slot));
      throw fileError(error, this.#path);
    }
  }

  async #writeRun(run: readonly { slot: number; bytes: Uint8Array }[]): Promise<void> {
    const first = run[0];
    if (first === undefined) return;
    const wanted = run.length * this.slotBytes;
    const { bytesWritten } = await this.#file.writev(
      run.map(({ bytes }) => bytes),
      first.slot * this.slotBytes,
    );
    if (bytesWritten !== wanted) throw new MillraceError('E_DISK_FULL', `no space left for ${this.#path}`);
  }

  /** Writes one batch to the index, then frees the slots that it no longer uses. Omits cells of dropped epochs. */
  async #write(writes: readonly IndexWrite[]): Promise<void> {
    const free: number[] = [];
    const counts: { before: number | undefined; after: number | undefined }[] = [];
    const late = (record: CellRecord | undefined) => record !== undefined && this.#epochs.isClosed(epochOf(record));
    try {
      const kept = writes.filter(({ record }) => !late(record));
      const found = await this.#recordsAt(kept.map(({ index }) => index));
      const latest = new Map<string, CellRecord | undefined>();
      for (const [i, { index, record }] of kept.entries()) {
        const name = Buffer.from(index.buffer, index.byteOffset, index.length).toString('latin1');
        const old = latest.has(name) ? latest.get(name) : found[i];
        if (old !== undefined && 'slot' in old) free.push(old.slot);
        counts.push({ before: old && epochOf(old), after: record && epochOf(record) });
        latest.set(name, record);
      }
      await this.#index.batch(
        kept.map(({ index, record }) =>
          record === undefined ? { delete: index } : { put: index, value: encodeRecord(record) },
        ),
      );
    } catch (error) {
      this.release(slotsOf(writes));
      throw error;
    }
    this.release([...free, ...slotsOf(writes.filter(({ record }) => late(record)))]);
    for (const { before, after } of counts) this.#epochs.count(before, after);
  }

  /** Reads in slices and yields to the event loop between them. */
  async #recordsAt(indexes: readonly CellIndex[]): Promise<(CellRecord | undefined)[]> {
    const found: (CellRecord | undefined)[] = [];
    for (let from = 0; from < indexes.length; from += LOOKED) {
      const records = await this.#index.getMany(indexes.slice(from, from + LOOKED));
      for (const bytes of records) found.push(bytes && decodeRecord(bytes));
      if (from + LOOKED < indexes.length) await new Promise((resolve) => setImmediate(resolve));
    }
    return found;
  }

  async #removeClosed(): Promise<void> {
    let writes: IndexWrite[] = [];
    let looked = 0;
    for await (const { key, value } of this.#index.range()) {
      if (++looked % LOOKED === 0) await new Promise((resolve) => setImmediate(resolve));
      if (!this.#epochs.isClosed(epochOf(decodeRecord(value)))) continue;
      writes.push({ index: key, record: undefined });
      if (writes.length < LOOKED) continue;
      await this.#write(writes);
      writes = [];
    }
    if (writes.length > 0) await this.#write(writes);
  }

  async #read(slot: number, bodyHead: Bytes): Promise<Bytes> {
    this.#checkOpen();
    const body = new Uint8Array(bodyHead.length + this.slotBytes);
    body.set(bodyHead);
    try {
      for (let done = 0; done < this.slotBytes; ) {
        const { bytesRead } = await this.#file.read(
          body,
          bodyHead.length + done,
          this.slotBytes - done,
          slot * this.slotBytes + done,
        );
        // A truncated file reads as zeros here. The cell's tag, or a deep check, detects this.
        if (bytesRead === 0) break;
        done += bytesRead;
      }
    } catch (error) {
      throw fileError(error, this.#path);
    }
    return body;
  }

  #checkOpen(): void {
    if (!this.#open) throw new MillraceError('E_STORE', 'the store is closed');
  }
}

/** New index record of a cell; undefined removes it. */
interface IndexWrite {
  readonly index: CellIndex;
  readonly record: CellRecord | undefined;
}

/** Index entries looked up at a time: about one millisecond. */
const LOOKED = 256;
/** Adjacent slots per write. Small, because the system's cache keeps each write in one piece. */
const RUN = 4;

function slotsOf(writes: readonly IndexWrite[]): number[] {
  return writes.flatMap(({ record }) => (record !== undefined && 'slot' in record ? [record.slot] : []));
}

function fileError(error: unknown, path: string): MillraceError {
  if (error instanceof MillraceError) return error;
  return new MillraceError(diskCode(error), diskText(error, path), { data: { path }, cause: error });
}
