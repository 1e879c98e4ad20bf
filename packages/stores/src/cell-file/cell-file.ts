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
  /** Bytes of a slot. A body of as many bytes, or up to 60 more, has its last bytes in a slot; any other is in the index. */
  readonly slotBytes: number;
}

/** What the index of a cell file needs of its store. The file is its only user. */
export type CellFileIndex = Pick<TransactionalStore, 'get' | 'getMany' | 'range' | 'batch'>;

/** What the index knows of a cell. */
export interface SlotEntry {
  readonly epoch: number;
  /** Of the body, in bytes. */
  readonly length: number;
  /** Where the last bytes of the body are; undefined if all of it is in the index. */
  readonly slot: number | undefined;
  /** The bytes of the body that are in the index. */
  readonly bodyHead: Bytes;
}

/** A cell whose last bytes are in its slot already, and flushed. */
export interface SlottedCell {
  readonly index: CellIndex;
  readonly epoch: number;
  readonly slot: number;
  readonly bodyHead: Uint8Array;
}

/** Changes that one write of the index makes. */
export interface CellFileStep {
  readonly placed: readonly SlottedCell[];
  readonly cells: readonly NewCell[];
  readonly remove: readonly CellIndex[];
}

/**
 * A truncated file is opened as well: cells past its end are removed from the index, so that checks report them missing.
 * @throws {MillraceError} E_STORE if the file cannot be opened, if it is missing although the index is not empty, or if
 * the index gives two cells the same slot; E_READ_ONLY
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
 * Cells in a flat file of slots, and an index of small records in another store. Slots are written and flushed before the
 * index refers to them: a crash leaves unused slots at most, which are free when the file is opened again. A slot is
 * reused only after the index has durably removed it. `commit` lets whoever rewrites cells inside the file, in threads of
 * its own, change many cells by one write of the index.
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

  /** Looks cells up in the index, without reading the file. */
  async entries(indexes: readonly CellIndex[]): Promise<(SlotEntry | undefined)[]> {
    this.#checkOpen();
    for (const index of indexes) checkIndex(index);
    const found = await this.#index.getMany(indexes);
    return found.map((bytes) => bytes && this.#entryOf(decodeRecord(bytes)));
  }

  /** The open file, for reading and writing slots. */
  get fd(): number {
    this.#checkOpen();
    return this.#file.fd;
  }

  /** Takes free slots, which are the caller's until `commit` or `release`, or until the file is opened again. */
  take(count: number): number[] {
    return Array.from({ length: count }, () => this.#slots.take());
  }

  release(slots: readonly number[]): void {
    for (const slot of slots) this.#slots.release(slot);
  }

  /** Resolves when everything that was written to the file before the call is on the medium. */
  async flush(): Promise<void> {
    try {
      await this.#flusher.flush();
    } catch (error) {
      throw fileError(error, this.#path);
    }
  }

  /** Makes the changes of a step durable, by one write of the index. If it fails, the slots of `placed` are free again. */
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

  /** Slots of the file and how many of them hold cells. */
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

  /** Writes one batch to the index, then frees the slots that it no longer uses. Cells of dropped epochs are left out. */
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

  /** In slices, between which the event loop gets a turn. */
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
        // A truncated file reads as zeros there. The tag inside, or a deep check, detects that.
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

/** Entries of the index looked up at a time: about a millisecond. */
const LOOKED = 256;
/** Adjacent slots per write. Few, because the system's cache keeps them in one piece. */
const RUN = 4;

function slotsOf(writes: readonly IndexWrite[]): number[] {
  return writes.flatMap(({ record }) => (record !== undefined && 'slot' in record ? [record.slot] : []));
}

function fileError(error: unknown, path: string): MillraceError {
  if (error instanceof MillraceError) return error;
  return new MillraceError(diskCode(error), diskText(error, path), { data: { path }, cause: error });
}
