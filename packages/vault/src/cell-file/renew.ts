import { type Bytes, u32be } from '@millrace/base';
import { MAY_BE_ABSENT, type MaintainMessage, type MaskedCell, type MovedCell } from '../messages.ts';
import type { CellFile, IndexWrite, Renewal } from './cell-file.ts';
import { BODY_HEAD } from './jobs.ts';
import type { CellRecord } from './record.ts';

/** How a step of a sweep went, by new index. */
export interface Renewed {
  readonly missing: Bytes[];
  readonly damaged: Bytes[];
  /** Of one core. */
  readonly workMs: number;
}

/** Cells of one job: 4 MB, a few milliseconds of a thread. */
const JOB = 256;
/** Jobs under way: one in each thread, one being flushed, one waiting. */
const UNDER_WAY = 4;
const HEADER = 4;

/**
 * A step of a sweep over a cell file: threads renew job after job while earlier ones are flushed; one write of the index
 * then makes the whole step visible and forgets the old places of the step before.
 */
export async function renewInFile(file: CellFile, message: MaintainMessage): Promise<Renewed> {
  const missing: Bytes[] = [];
  const damaged: Bytes[] = [];
  const underWay = new Set<Promise<void>>();
  const records: IndexWrite[] = [];
  let workMs = 0;
  let failure: { error: unknown } | undefined;
  const begin = (renewals: readonly Renewal[]): void => {
    const job: Promise<void> = file
      .renew(renewals)
      .then(
        (done) => {
          records.push(...done.records);
          workMs += done.workMs;
        },
        (error: unknown) => {
          failure ??= { error };
        },
      )
      .finally(() => underWay.delete(job));
    underWay.add(job);
  };
  for (const cells of [message.items, message.masked]) {
    for (let from = 0; from < cells.length && failure === undefined; from += JOB) {
      const renewals: Renewal[] = [];
      const items = cells.slice(from, from + JOB);
      const staged = await file.look(items.map(({ newIndex }) => newIndex));
      const old = await file.look(items.map(({ oldIndex }) => oldIndex));
      for (const [i, item] of items.entries()) {
        const found = judge(item, staged[i], old[i], message.to);
        if (found === 'missing') missing.push(item.newIndex);
        else if (found === 'damaged') damaged.push(item.newIndex);
        else if (found !== 'done') renewals.push(found);
      }
      await new Promise((resolve) => setImmediate(resolve));
      while (underWay.size >= UNDER_WAY) await Promise.race(underWay);
      if (renewals.length > 0) begin(renewals);
    }
  }
  await Promise.all(underWay);
  if (failure !== undefined) {
    file.abandon(records);
    throw failure.error;
  }
  if (records.length + message.forget.length > 0) await file.commitRenewals(records, message.forget);
  return { missing, damaged, workMs };
}

/** What is to be done with a cell, by what the index says of its new and its old place. */
function judge(
  item: MovedCell | MaskedCell,
  staged: CellRecord | undefined,
  old: CellRecord | undefined,
  to: number,
): Renewal | 'done' | 'missing' | 'damaged' {
  if (staged !== undefined && 'slot' in staged && epochOf(staged.head) === to) return 'done';
  if (old === undefined) return (item.flags & MAY_BE_ABSENT) === 0 ? 'missing' : 'done';
  // The header keeps a layer from being applied twice, or to a cell that is not of the epoch before.
  if (!('slot' in old) || old.head.length !== HEADER + BODY_HEAD || epochOf(old.head) !== to - 1) return 'damaged';
  const where = { slot: old.slot, bodyHead: old.head.subarray(HEADER), to: item.newIndex, prefix: u32be(to) };
  return 'mask' in item
    ? { ...where, kind: 'mask', secret: [item.mask] }
    : { ...where, kind: 'keys', secret: [item.oldKey, item.newKey] };
}

function epochOf(head: Bytes): number {
  return head.length < HEADER ? -1 : new DataView(head.buffer, head.byteOffset).getUint32(0);
}
