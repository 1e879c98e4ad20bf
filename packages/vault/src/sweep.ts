import { type Bytes, compareBytes, copyBytes, toHex, wipe } from '@millrace/base';
import type { Epoch } from './epochs.ts';
import {
  MAINTAIN,
  MAX_MASKED,
  MAX_MOVED,
  MAY_BE_ABSENT,
  type MaintainMessage,
  type MaskedCells,
  type MovedCells,
} from './messages.ts';
import { cellIndex, outerKey, outerMask } from './outer.ts';
import { Packed } from './packed.ts';
import { END, Plan, type PlanEntry, type Span, START } from './plan.ts';
import type { Holding, Sweep } from './records.ts';
import type { CellName } from './views.ts';

// The arithmetic of a sweep (spec/vault.md, section 6); nothing here is stored or sent.

export type HoldingOf = (owner: string) => Holding | undefined;

export function newSweep(to: number): Sweep {
  return { to, number: 0, underWay: false, prev: START, mark: START, from: START, upTo: START };
}

export const isEnded = (sweep: Sweep): boolean => compareBytes(sweep.prev, END) === 0;

/** Cells up to here belong into the new epoch when they are stored now. */
export function storeBoundary(sweep: Sweep): Bytes {
  return sweep.underWay ? sweep.upTo : sweep.from;
}

/** Whether sweeps carry this cell on; if not, they only forget it. */
export function isCarried(holding: Holding, segment: number): boolean {
  return segment < holding.instructed && (holding.retire === undefined || segment < holding.retire);
}

/** Whether a cell goes by mask rather than by keys. */
export type IsMasked = (owner: string, segment: number) => boolean;

/** All cells that the sweep comes to, in the order of their indexes in the epoch to come. */
export function planOf(holdings: ReadonlyMap<string, Holding>, next: Epoch): Promise<Plan<string>> {
  const spans: Span<string>[] = [];
  for (const [owner, { instructed }] of holdings) if (instructed > 0) spans.push({ owner, from: 0, to: instructed });
  const ids = new Map([...holdings].map(([owner, { id }]) => [owner, id]));
  return Plan.build(spans, (owner, segment) => cellIndex(next.indexKey, ids.get(owner) ?? new Uint8Array(), segment));
}

/** What the next message does: at most `limit` cells staged, MAX_MASKED of them by mask, and MAX_MOVED forgotten. */
export function nextStep(sweep: Sweep, plan: Plan<string>, limit: number, isMasked: IsMasked): Sweep {
  const staged = fitting(plan.after(sweep.from, limit + 1), END, limit, isMasked);
  const most = Math.min(MAX_MOVED, plan.rank(sweep.from) - plan.rank(sweep.prev)) + 1;
  const forgotten = fitting(plan.after(sweep.prev, most), END, MAX_MOVED);
  const mark = compareBytes(forgotten, sweep.from) < 0 ? forgotten : sweep.from;
  return { ...sweep, number: sweep.number + 1, underWay: true, upTo: staged, mark };
}

/**
 * The step under way, no larger than a message may be. After a restart the plan also holds cells that were stored
 * straight into the new epoch while the message was under way; what no longer fits is left to the next step, where
 * staging finds it done.
 */
export function fittedStep(sweep: Sweep, plan: Plan<string>, isMasked: IsMasked): Sweep {
  const staged = fitting(plan.after(sweep.from, MAX_MOVED + 1), sweep.upTo, MAX_MOVED, isMasked);
  const forgotten = fitting(plan.after(sweep.prev, MAX_MOVED + 1), sweep.mark, MAX_MOVED);
  return { ...sweep, upTo: staged, mark: forgotten };
}

/** `high`, or the last index before it up to which the entries fit into one message. */
function fitting(entries: readonly PlanEntry<string>[], high: Bytes, limit: number, isMasked?: IsMasked): Bytes {
  let masked = 0;
  for (const [i, { owner, segment, index }] of entries.entries()) {
    if (compareBytes(index, high) > 0) return high;
    if (isMasked?.(owner, segment)) masked++;
    if (i === limit || masked > MAX_MASKED) return copyBytes(entries[i - 1]?.index ?? high);
  }
  return high;
}

export const committed = (sweep: Sweep): Sweep => ({ ...sweep, underWay: false, prev: sweep.mark, from: sweep.upTo });

/** Cells between two breaths of the event loop: a millisecond or two. */
const BREATH = 64;

/** The message of the step under way, built anew each time: it is a function of the playbook. */
export async function maintainMessage(
  sweep: Sweep,
  plan: Plan<string>,
  epochs: { current: Epoch; next: Epoch },
  holdingOf: HoldingOf,
  isMasked: IsMasked,
): Promise<MaintainMessage> {
  const { current, next } = epochs;
  const before = (entry: PlanEntry<string>, { id }: Holding): Bytes =>
    plan.before(entry, () => cellIndex(current.indexKey, id, entry.segment));
  const staged: { entry: PlanEntry<string>; holding: Holding; byMask: boolean }[] = [];
  let byMask = 0;
  for (const entry of plan.between(sweep.from, sweep.upTo)) {
    const holding = holdingOf(entry.owner);
    if (holding === undefined || !isCarried(holding, entry.segment)) continue;
    staged.push({ entry, holding, byMask: isMasked(entry.owner, entry.segment) });
    if (staged.at(-1)?.byMask) byMask++;
  }
  const items = Packed.blank(MAINTAIN.items, staged.length - byMask);
  const masked = Packed.blank(MAINTAIN.masked, byMask);
  let item = 0;
  let mask = 0;
  for (const [i, { entry, holding, byMask }] of staged.entries()) {
    if (i % BREATH === BREATH - 1) await breathe();
    const oldKey = outerKey(current.key, holding.id, entry.segment);
    const newKey = outerKey(next.key, holding.id, entry.segment);
    const flags = entry.segment < holding.stored ? 0 : MAY_BE_ABSENT;
    if (byMask) {
      fill(masked, mask, before(entry, holding), entry.index, flags);
      outerMask(oldKey, newKey, masked.view(mask++, 'mask'));
    } else {
      fill(items, item, before(entry, holding), entry.index, flags);
      items.set(item, 'oldKey', oldKey);
      items.set(item++, 'newKey', newKey);
    }
    wipe(oldKey, newKey);
  }
  const left = plan.between(sweep.prev, sweep.mark).filter(({ owner }) => holdingOf(owner) !== undefined);
  const forget = Packed.blank(MAINTAIN.forget, left.length);
  for (const [i, entry] of left.entries()) {
    if (i % BREATH === BREATH - 1) await breathe();
    const holding = holdingOf(entry.owner);
    if (holding !== undefined) forget.set(i, 'index', before(entry, holding));
  }
  return { type: 'maintain', to: sweep.to, number: sweep.number, items, masked, forget };
}

function fill(cells: MovedCells | MaskedCells, at: number, oldIndex: Bytes, newIndex: Bytes, flags: number): void {
  cells.set(at, 'oldIndex', oldIndex);
  cells.set(at, 'newIndex', newIndex);
  cells.setNumber(at, 'flags', flags);
}

/** Turns new indexes of the step under way back into names. */
export function namer(sweep: Sweep, plan: Plan<string>, decoys: string): (index: Bytes) => CellName {
  const names = new Map<string, CellName>();
  for (const { owner, segment, index } of plan.between(sweep.from, sweep.upTo)) {
    names.set(toHex(index), { design: owner === decoys ? undefined : owner, segment });
  }
  return (index) => names.get(toHex(index)) ?? { design: undefined, segment: -1 };
}

function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
