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
} from '@millrace/base';
import type { Entry, Key, Range, Store, Swap, Write } from '@millrace/stores';
import { SLOT_BYTES } from '../sizes.ts';
import { Flusher } from './flusher.ts';
import { BODY_HEAD, JOB_HEADER, type JobKind, lengthOf } from './jobs.ts';
import { type CellRecord, decodeRecord, encodeRecord, fits, headOf } from './record.ts';
import { RenewPool } from './renew-pool.ts';
import { SlotMap } from './slot-map.ts';

export interface CellFileOptions {
  /** Index of values, used by the file alone. The caller closes it after the file. */
  readonly index: Store;
  /** The file of slots, created if it is missing. */
  readonly path: string;
  /**
   * Number of renewing threads; default 1. One is faster than the main thread can supply it, and a second takes 40 MB. A
   * second one helps only if cells are read from a slow disk.
   */
  readonly threads?: number;
}

/** Values to move: a renewing thread reads each at `slot`, changes it and writes it elsewhere under a new head. */
export interface RenewalJob {
  readonly kind: JobKind;
  /** What comes before the body in the new values. */
  readonly prefix: Uint8Array;
  /** 256 make a job of a few milliseconds. */
  readonly cells: readonly Renewal[];
}

export interface Renewal {
  readonly slot: number;
  /** First bytes of the old body. */
  readonly bodyHead: Uint8Array;
  readonly to: Key;
  /** Keys or mask (`jobs.ts`). */
  readonly secret: Uint8Array;
}

/**
 * A truncated file is opened as well: values past its end are removed from the index, so that checks report them missing.
 * @throws {MillraceError} E_STORE if the file cannot be opened, if it is missing although the index is not empty, or if
 * the index gives two values the same slot; E_READ_ONLY
 */
export async function openCellFile(options: CellFileOptions): Promise<CellFile> {
  const { index, path, threads = 1 } = options;
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r+').catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
      for await (const { value } of index.range())
        if ('slot' in decodeRecord(value))
          throw new MillraceError('E_STORE', `${path} is missing: put it back, or restore the data folder`);
      return open(path, 'wx+', 0o600);
    });
    const slots = new SlotMap(Math.floor((await file.stat()).size / SLOT_BYTES));
    const lost: Key[] = [];
    for await (const { key, value } of index.range()) {
      const record = decodeRecord(value);
      if (!('slot' in record) || slots.mark(record.slot)) continue;
      if (record.slot < slots.count)
        throw new MillraceError('E_STORE', `${path} is damaged: cell ${toHex(key)} shares a slot with another cell`);
      lost.push(key);
    }
    for (let from = 0; from < lost.length; from += LOOKED)
      await index.batch(lost.slice(from, from + LOOKED).map((key) => ({ delete: key })));
    return new CellFile(index, file, path, slots, threads, lost.length);
  } catch (error) {
    await file?.close();
    throw fileError(error, path);
  }
}

/** Length and first bytes of a value. */
export interface Outline {
  readonly key: Bytes;
  readonly length: number;
  /** Its first bytes, four at least where it is as long as a cell. */
  readonly head: Bytes;
}

/**
 * A store that keeps large values (cells) in a flat file of 16,384-byte slots, and an index of small records in another
 * store. Slots are written and flushed before the index refers to them: a crash leaves unused slots at most, which are
 * free when the file is opened again. A slot is reused only after the index has durably removed it.
 */
export class CellFile implements Store {
  readonly #index: Store;
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #slots: SlotMap;
  readonly #flusher: Flusher;
  readonly #pool: RenewPool;
  readonly #mutex = new Mutex();
  #open = true;
  /** Number of values that were missing from the file when it was opened. */
  readonly lost: number;

  constructor(index: Store, file: FileHandle, path: string, slots: SlotMap, threads: number, lost: number) {
    this.lost = lost;
    this.#index = index;
    this.#file = file;
    this.#path = path;
    this.#slots = slots;
    this.#flusher = new Flusher(() => file.datasync());
    this.#pool = new RenewPool(threads);
  }

  async get(key: Key): Promise<Bytes | undefined> {
    this.#checkOpen();
    for (;;) {
      const entry = await this.#index.get(key);
      if (entry === undefined) return undefined;
      const record = decodeRecord(entry);
      if ('value' in record) return copyBytes(record.value);
      const value = await this.#read(record);
      // The slot may have been reused while it was read. Check the index again.
      const again = await this.#index.get(key);
      if (again !== undefined && equalBytes(again, entry)) return value;
    }
  }

  async has(key: Key): Promise<boolean> {
    this.#checkOpen();
    return this.#index.has(key);
  }

  put(key: Key, value: Uint8Array): Promise<void> {
    return this.batch([{ put: key, value }]);
  }

  delete(key: Key): Promise<void> {
    return this.batch([{ delete: key }]);
  }

  async batch(writes: readonly Write[]): Promise<void> {
    this.#checkOpen();
    if (writes.length === 0) return;
    const { records, taken } = await this.#place(writes);
    await this.#commit(records, taken);
  }

  compareAndSwap(key: Key, expected: Uint8Array | undefined, next: Uint8Array | undefined): Promise<Swap> {
    return this.#mutex.run(async () => {
      const current = await this.get(key);
      const same =
        current === undefined || expected === undefined ? current === expected : equalBytes(current, expected);
      if (!same) return 'refused';
      if (current === undefined && next === undefined) return 'applied';
      const { records, taken } = await this.#place([next === undefined ? { delete: key } : { put: key, value: next }]);
      await this.#commitAlone(records, taken);
      return 'applied';
    });
  }

  async *range(options?: Range): AsyncGenerator<Entry> {
    this.#checkOpen();
    for await (const { key, value: entry } of this.#index.range(options)) {
      const record = decodeRecord(entry);
      if ('value' in record) {
        yield { key, value: copyBytes(record.value) };
        continue;
      }
      const value = await this.get(key);
      if (value !== undefined) yield { key, value };
    }
  }

  /** Lengths and first bytes of values, from the index alone: the file is not read. */
  async *outline(options?: Range): AsyncGenerator<Outline> {
    this.#checkOpen();
    for await (const { key, value: entry } of this.#index.range(options)) {
      const record = decodeRecord(entry);
      if ('value' in record) yield { key, length: record.value.length, head: record.value };
      else yield { key, length: SLOT_BYTES + record.head.length, head: record.head };
    }
  }

  /** Looks values up in the index, without reading the file. */
  async look(keys: readonly Key[]): Promise<(CellRecord | undefined)[]> {
    this.#checkOpen();
    const entries = this.#index.getMany
      ? await this.#index.getMany(keys)
      : await Promise.all(keys.map((key) => this.#index.get(key)));
    return entries.map((entry) => entry && decodeRecord(entry));
  }

  /**
   * Renews values durably in the file, in a thread. `commitRenewals` then updates the index. Without a commit only the
   * slots are lost, until the file is opened again.
   * @returns the writes for the index, and the time of one core
   */
  async renew({ kind, prefix, cells }: RenewalJob): Promise<{ records: IndexWrite[]; workMs: number }> {
    this.#checkOpen();
    const each = lengthOf(kind);
    const job = this.#pool.buffer(each * cells.length);
    const view = new DataView(job.buffer);
    const slots = cells.map(() => this.#slots.take());
    try {
      for (const [i, { slot, bodyHead, secret }] of cells.entries()) {
        const at = i * each;
        view.setUint32(at, slot);
        view.setUint32(at + 4, slots[i] ?? 0);
        job.set(bodyHead, at + 8);
        job.set(secret, at + JOB_HEADER);
      }
      const { heads, workMs } = await this.#pool.run(this.#file.fd, kind, cells.length, job);
      await this.#flusher.flush();
      const records = cells.map(({ to }, i): IndexWrite => {
        const head = concatBytes(prefix, heads.subarray(i * BODY_HEAD, (i + 1) * BODY_HEAD));
        return { key: to, record: { slot: slots[i] ?? 0, head } };
      });
      return { records, workMs };
    } catch (error) {
      for (const slot of slots) this.#slots.release(slot);
      throw fileError(error, this.#path);
    }
  }

  /** Adds renewed values to the index and removes others, atomically. */
  async commitRenewals(records: readonly IndexWrite[], forget: readonly Key[]): Promise<void> {
    const taken = records.flatMap(({ record }) => (record !== undefined && 'slot' in record ? [record.slot] : []));
    await this.#commit([...records, ...forget.map((key) => ({ key, record: undefined }))], taken);
  }

  /** Frees the slots of renewals that will not be committed. */
  abandon(records: readonly IndexWrite[]): void {
    for (const { record } of records) if (record !== undefined && 'slot' in record) this.#slots.release(record.slot);
  }

  /** Slots of the file and how many of them hold values. */
  usage(): { slots: number; taken: number } {
    return { slots: this.#slots.count, taken: this.#slots.taken };
  }

  async close(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.#pool.close();
    await this.#mutex.run(() => this.#flusher.idle());
    await this.#file.close();
  }

  /** Writes large values to free slots, durably. */
  async #place(writes: readonly Write[]): Promise<{ records: IndexWrite[]; taken: number[] }> {
    const taken: number[] = [];
    const parts: { slot: number; bytes: Uint8Array }[] = [];
    const records = writes.map((write): IndexWrite => {
      if ('delete' in write) return { key: write.delete, record: undefined };
      if (!fits(write.value.length)) return { key: write.put, record: { value: copyBytes(write.value) } };
      const slot = this.#slots.take();
      taken.push(slot);
      const head = copyBytes(headOf(write.value));
      parts.push({ slot, bytes: write.value.subarray(head.length) });
      return { key: write.put, record: { slot, head } };
    });
    try {
      for (let start = 0, end = 1; end <= parts.length; end++) {
        if (end < parts.length && parts[end]?.slot === (parts[end - 1]?.slot ?? 0) + 1 && end - start < RUN) continue;
        await this.#writeRun(parts.slice(start, end));
        start = end;
      }
      if (parts.length > 0) await this.#flusher.flush();
      return { records, taken };
    } catch (error) {
      for (const slot of taken) this.#slots.release(slot);
      throw fileError(error, this.#path);
    }
  }

  async #writeRun(run: readonly { slot: number; bytes: Uint8Array }[]): Promise<void> {
    const first = run[0];
    if (first === undefined) return;
    const wanted = run.length * SLOT_BYTES;
    const { bytesWritten } = await this.#file.writev(
      run.map(({ bytes }) => bytes),
      first.slot * SLOT_BYTES,
    );
    if (bytesWritten !== wanted) throw new MillraceError('E_DISK_FULL', `no space left for ${this.#path}`);
  }

  #commit(records: readonly IndexWrite[], taken: readonly number[]): Promise<void> {
    return this.#mutex.run(() => this.#commitAlone(records, taken));
  }

  /** Writes one batch to the index, then frees the slots that it no longer uses. */
  async #commitAlone(records: readonly IndexWrite[], taken: readonly number[]): Promise<void> {
    const before: number[] = [];
    try {
      const found = await this.#lookAll(records.map(({ key }) => key));
      const latest = new Map<string, CellRecord | undefined>();
      for (const [i, { key, record }] of records.entries()) {
        const name = Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
        const old = latest.has(name) ? latest.get(name) : found[i];
        if (old !== undefined && 'slot' in old) before.push(old.slot);
        latest.set(name, record);
      }
      await this.#index.batch(
        records.map(({ key, record }) =>
          record === undefined ? { delete: key } : { put: key, value: encodeRecord(record) },
        ),
      );
    } catch (error) {
      for (const slot of taken) this.#slots.release(slot);
      throw error;
    }
    for (const slot of before) this.#slots.release(slot);
  }

  /** In slices, between which the event loop gets a turn. */
  async #lookAll(keys: readonly Key[]): Promise<(CellRecord | undefined)[]> {
    const found: (CellRecord | undefined)[] = [];
    for (let from = 0; from < keys.length; from += LOOKED) {
      found.push(...(await this.look(keys.slice(from, from + LOOKED))));
      if (from + LOOKED < keys.length) await new Promise((resolve) => setImmediate(resolve));
    }
    return found;
  }

  async #read({ slot, head }: { slot: number; head: Bytes }): Promise<Bytes> {
    this.#checkOpen();
    const value = new Uint8Array(head.length + SLOT_BYTES);
    value.set(head);
    try {
      for (let done = 0; done < SLOT_BYTES; ) {
        const { bytesRead } = await this.#file.read(
          value,
          head.length + done,
          SLOT_BYTES - done,
          slot * SLOT_BYTES + done,
        );
        // A truncated file reads as zeros there. The tag inside, or a deep check, detects that.
        if (bytesRead === 0) break;
        done += bytesRead;
      }
    } catch (error) {
      throw fileError(error, this.#path);
    }
    return value;
  }

  #checkOpen(): void {
    if (!this.#open) throw new MillraceError('E_STORE', 'the store is closed');
  }
}

/** New index record of a key; undefined removes it. */
export interface IndexWrite {
  readonly key: Key;
  readonly record: CellRecord | undefined;
}

/** Entries of the index looked up at a time: about a millisecond. */
const LOOKED = 256;
/** Adjacent slots per write. Few, because the system's cache keeps them in one piece (`writeSlots`). */
const RUN = 4;

function fileError(error: unknown, path: string): MillraceError {
  if (error instanceof MillraceError) return error;
  return new MillraceError(diskCode(error), diskText(error, path), { data: { path }, cause: error });
}
