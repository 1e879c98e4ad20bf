import { type Bytes, u32be } from '@millrace/base';
import { MAY_BE_ABSENT, type MaintainMessage, type MaskedCells, type MovedCells } from '../messages.ts';
import type { CellFile, IndexWrite, Renewal } from './cell-file.ts';
import { BODY_HEAD, type JobKind } from './jobs.ts';
import type { CellRecord } from './record.ts';

/** How a step of a sweep went, by new index. */
export interface Renewed {
  readonly missing: Bytes[];
  readonly damaged: Bytes[];
  /** Of one core. */
  readonly workMs: number;
}

/** Renewed cells of points: computed, not yet written. */
export interface RenewedPoints extends Renewed {
  readonly writes: { readonly put: Bytes; readonly value: Bytes }[];
}

/** Cells of one job: 4 MB, a few milliseconds of a thread. */
const JOB = 256;
/** Jobs at a time: one in each thread, one being flushed, one waiting. */
const UNDER_WAY = 4;
const HEADER = 4;

/**
 * A step of a sweep over a cell file. Threads renew job after job while earlier ones are flushed. One write of the index
 * then makes the whole step visible and removes the old places of the previous step.
 */
export async function renewInFile(file: CellFile, message: MaintainMessage, points: RenewedPoints): Promise<Renewed> {
  const outcome = { missing: points.missing, damaged: points.damaged };
  const underWay = new Set<Promise<void>>();
  // Few, and too long for a slot: stored in the index.
  const records: IndexWrite[] = points.writes.map(({ put, value }) => ({ key: put, record: { value } }));
  const prefix = u32be(message.to);
  let { workMs } = points;
  let failure: { error: unknown } | undefined;
  const begin = (kind: JobKind, cells: readonly Renewal[]): void => {
    const job: Promise<void> = file
      .renew({ kind, prefix, cells })
      .then(
        (done) => {
          for (const record of done.records) records.push(record);
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
      const staged = await file.look(numbers.map((n) => cells.view(n, 'newIndex')));
      const old = await file.look(numbers.map((n) => cells.view(n, 'oldIndex')));
      const renewals: Renewal[] = [];
      for (const [i, n] of numbers.entries()) {
        const to = cells.view(n, 'newIndex');
        const found = judge(cells.number(n, 'flags'), staged[i], old[i], message.to);
        if (found === 'missing' || found === 'damaged') outcome[found].push(to.slice());
        else if (found !== 'done') renewals.push({ ...found, to, secret: secret(n) });
      }
      await new Promise((resolve) => setImmediate(resolve));
      while (underWay.size >= UNDER_WAY) await Promise.race(underWay);
      if (renewals.length > 0) begin(kind, renewals);
    }
  };
  const { items, masked, forget } = message;
  await renewAll(items, 'keys', (n) => items.span(n, 'oldKey', 'newKey'));
  await renewAll(masked, 'mask', (n) => masked.view(n, 'mask'));
  await Promise.all(underWay);
  if (failure !== undefined) {
    file.abandon(records);
    throw failure.error;
  }
  if (records.length + forget.count > 0) {
    const forgotten = Array.from({ length: forget.count }, (_, n) => forget.view(n, 'index'));
    await file.commitRenewals(records, forgotten);
  }
  return { ...outcome, workMs };
}

/** What to do with a cell, given the index records of its new and its old place. */
function judge(
  flags: number,
  staged: CellRecord | undefined,
  old: CellRecord | undefined,
  to: number,
): Pick<Renewal, 'slot' | 'bodyHead'> | 'done' | 'missing' | 'damaged' {
  if (staged !== undefined && 'slot' in staged && epochOf(staged.head) === to) return 'done';
  if (old === undefined) return (flags & MAY_BE_ABSENT) === 0 ? 'missing' : 'done';
  // The header prevents applying a layer twice, or to a cell that is not of the previous epoch.
  if (!('slot' in old) || old.head.length !== HEADER + BODY_HEAD || epochOf(old.head) !== to - 1) return 'damaged';
  return { slot: old.slot, bodyHead: old.head.subarray(HEADER) };
}

function epochOf(head: Bytes): number {
  return head.length < HEADER ? -1 : new DataView(head.buffer, head.byteOffset).getUint32(0);
}
