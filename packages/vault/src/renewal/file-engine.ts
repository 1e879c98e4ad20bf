import { type Bytes, type Closable, diskCode, diskText, MillraceError } from '@millrace/base';
import type { CellFile, CellIndex, Lmdb, NewCell, SlotEntry, SlottedCell } from '@millrace/stores';
import type { MaintainMessage, MaskedCells, MovedCells } from '../messages.ts';
import { SEGMENT_BYTES, SLOT_BYTES } from '../sizes.ts';
import { type CellEngine, judge, type StepOutcome } from './engine.ts';
import { BODY_HEAD, JOB_HEADER, type JobKind, lengthOf } from './jobs.ts';
import { RenewPool } from './renew-pool.ts';

export interface FileEngineOptions {
  /** Database that holds the file's index. */
  readonly lmdb: Lmdb;
  /** Name of the index. */
  readonly index: string;
  /** Path of the file of slots, created if missing. */
  readonly path: string;
  /**
   * Number of renewing threads; default 1. One thread is faster than the main thread can supply. A second costs 40 MB
   * and helps only if cells are read from a slow disk.
   */
  readonly threads?: number;
}

/**
 * Cells in a file of slots, renewed in place by threads. Close it before its index.
 * @throws {MillraceError} E_STORE, E_READ_ONLY
 */
export async function openFileEngine(options: FileEngineOptions): Promise<FileEngine> {
  const { lmdb, index, path, threads = 1 } = options;
  return new FileEngine(await lmdb.cellFile(index, { path, slotBytes: SLOT_BYTES }), path, threads);
}

/** Cells in one job: 4 MB, a few milliseconds of a thread. */
const JOB = 256;
/** Jobs in flight: one in each thread, one being flushed, one waiting. */
const UNDER_WAY = 4;

/** A cell to renew. A thread reads the rest of its body at `slot`, changes it and writes it to another slot. */
interface Renewal extends Pick<SlotEntry, 'bodyHead'> {
  readonly slot: number;
  readonly to: CellIndex;
  /** Keys or mask (`jobs.ts`). */
  readonly secret: Uint8Array;
}

/** Steps of a sweep inside a file of slots. */
export class FileEngine implements CellEngine, Closable {
  readonly cells: CellFile;
  readonly #path: string;
  readonly #pool: RenewPool;

  /** @param cells closed with the engine */
  constructor(cells: CellFile, path: string, threads: number) {
    this.cells = cells;
    this.#path = path;
    this.#pool = new RenewPool(threads);
  }

  /**
   * Threads renew jobs while earlier ones are flushed. One write of the index then makes the whole step visible and
   * removes the old places of the previous step.
   */
  async renew(step: MaintainMessage, renewed: readonly NewCell[]): Promise<StepOutcome> {
    const outcome = { missing: [] as Bytes[], damaged: [] as Bytes[], staged: 0, absent: 0 };
    const underWay = new Set<Promise<void>>();
    const placed: SlottedCell[] = [];
    let workMs = 0;
    let failure: { error: unknown } | undefined;
    const begin = (kind: JobKind, cells: readonly Renewal[]): void => {
      const job: Promise<void> = this.#run(kind, step.to, cells)
        .then(
          (done) => {
            for (const cell of done.placed) placed.push(cell);
            workMs += done.workMs;
          },
          (error: unknown) => {
            failure ??= { error };
          },
        )
        .finally(() => underWay.delete(job));
      underWay.add(job);
    };
    const renewAll = async (cells: MovedCells | MaskedCells, kind: JobKind, secret: (n: number) => Bytes) => {
      for (let from = 0; from < cells.count && failure === undefined; from += JOB) {
        const numbers = Array.from({ length: Math.min(JOB, cells.count - from) }, (_, i) => from + i);
        const staged = await this.cells.entries(numbers.map((n) => cells.view(n, 'newIndex')));
        const old = await this.cells.entries(numbers.map((n) => cells.view(n, 'oldIndex')));
        const renewals: Renewal[] = [];
        for (const [i, n] of numbers.entries()) {
          const to = cells.view(n, 'newIndex');
          const entry = old[i];
          const verdict = judge(
            { to: step.to, flags: cells.number(n, 'flags'), length: SEGMENT_BYTES },
            staged[i],
            entry,
          );
          if (verdict === 'renew' && entry?.slot !== undefined)
            renewals.push({ slot: entry.slot, bodyHead: entry.bodyHead, to, secret: secret(n) });
          else if (verdict === 'staged' || verdict === 'absent') outcome[verdict]++;
          else outcome[verdict === 'missing' ? 'missing' : 'damaged'].push(to.slice());
        }
        await new Promise((resolve) => setImmediate(resolve));
        while (underWay.size >= UNDER_WAY) await Promise.race(underWay);
        if (renewals.length > 0) begin(kind, renewals);
      }
    };
    const { items, masked, forget } = step;
    await renewAll(items, 'keys', (n) => items.span(n, 'oldKey', 'newKey'));
    await renewAll(masked, 'mask', (n) => masked.view(n, 'mask'));
    await Promise.all(underWay);
    if (failure !== undefined) {
      this.cells.release(placed.map(({ slot }) => slot));
      throw failure.error;
    }
    const remove = Array.from({ length: forget.count }, (_, n) => forget.view(n, 'index'));
    await this.cells.commit({ placed, cells: renewed, remove });
    return { ...outcome, staged: outcome.staged + placed.length + renewed.length, workMs };
  }

  async close(): Promise<void> {
    await this.#pool.close();
    await this.cells.close();
  }

  /**
   * Renews cells durably in the file, in a thread. A commit then updates the index. Without a commit only the slots are
   * lost, until the file is reopened.
   */
  async #run(
    kind: JobKind,
    epoch: number,
    cells: readonly Renewal[],
  ): Promise<{ placed: SlottedCell[]; workMs: number }> {
    const each = lengthOf(kind);
    const job = this.#pool.buffer(each * cells.length);
    const view = new DataView(job.buffer);
    const slots = this.cells.take(cells.length);
    try {
      for (const [i, { slot, bodyHead, secret }] of cells.entries()) {
        const at = i * each;
        view.setUint32(at, slot);
        view.setUint32(at + 4, slots[i] ?? 0);
        job.set(bodyHead, at + 8);
        job.set(secret, at + JOB_HEADER);
      }
      const { heads, workMs } = await this.#pool.run(this.cells.fd, kind, cells.length, job);
      await this.cells.flush();
      const placed = cells.map(({ to }, i): SlottedCell => {
        const bodyHead = heads.subarray(i * BODY_HEAD, (i + 1) * BODY_HEAD);
        return { index: to, epoch, slot: slots[i] ?? 0, bodyHead };
      });
      return { placed, workMs };
    } catch (error) {
      this.cells.release(slots);
      if (error instanceof MillraceError) throw error;
      const data = { path: this.#path };
      throw new MillraceError(diskCode(error), diskText(error, this.#path), { data, cause: error });
    }
  }
}
