import { type Bytes, compareBytes, copyBytes, MillraceError, toHex, wipe } from '@millrace/base';
import type { Epoch } from './epochs.ts';
import type { ModeOf } from './holding-modes.ts';
import { type IsMoved, laneAt, laneEnd, laneStart, leavesOld } from './lanes.ts';
import { layerKey } from './layer-key.ts';
import {
  MAINTAIN,
  MAX_MASKED,
  MAX_MOVED,
  MAX_POINTS,
  MAY_BE_ABSENT,
  type MaintainMessage,
  type MaskedCells,
  type MovedCells,
  type PointsCells,
} from './messages.ts';
import type { MaintenanceMode } from './modes.ts';
import { cellIndex, outerMask } from './outer.ts';
import { Packed } from './packed.ts';
import { Plan, type PlanEntry, type Span } from './plan.ts';
import { pointsToken } from './points/keys.ts';
import type { Holding, Lane, Sweep } from './records.ts';
import type { CellName } from './views.ts';

// Arithmetic of a sweep (spec/vault.md, section 6). This module stores and sends nothing.

export type HoldingOf = (owner: string) => Holding | undefined;

/** One lane of a sweep, with what its steps depend on. */
export interface LaneOfSweep {
  /** Target epoch of the sweep. */
  readonly to: number;
  /** Number of the lane. */
  readonly at: number;
  readonly lane: Lane;
  /** The lane's highest index. */
  readonly end: Bytes;
  /** Whether steps leave the old places of the cells as they are. */
  readonly leavesOld: boolean;
}

/** @throws {MillraceError} E_INPUT if the sweep has no such lane */
export function laneIn(sweep: Sweep, at: number): LaneOfSweep {
  const lane = laneAt(sweep, at);
  if (lane === undefined) throw new MillraceError('E_INPUT', `the sweep has no lane ${at}`);
  return { to: sweep.to, at, lane, end: laneEnd(at, sweep.lanes.length), leavesOld: leavesOld(sweep) };
}

/** The lane after it was given to another segments node. */
export function fenced(now: LaneOfSweep): LaneOfSweep {
  return { ...now, lane: { ...now.lane, fence: now.lane.fence + 1 } };
}

/** Share of the cells that are in the next epoch, 0 to 1. */
export function progressOf({ lanes }: Sweep, plan: Plan<string>): number {
  const moved = lanes.map(({ from }, at) => plan.rank(from) - plan.rank(laneStart(at, lanes.length)));
  return moved.reduce((total, each) => total + each, 0) / Math.max(1, plan.count);
}

/** Whether sweeps move this cell to the next epoch. Otherwise they remove it. */
export function isCarried(holding: Holding, segment: number): boolean {
  return segment < holding.instructed && (holding.retire === undefined || segment < holding.retire);
}

/** Cells of points in one step when the step is chosen. */
const STEP_POINTS = 8;

/** The label of a cell of points. */
export type LabelOf = (holding: Holding, segment: number) => Bytes;

/** All cells of the sweep, in the order of their indexes in the next epoch. */
export function planOf(holdings: ReadonlyMap<string, Holding>, next: Epoch): Promise<Plan<string>> {
  const spans: Span<string>[] = [];
  for (const [owner, { instructed }] of holdings) if (instructed > 0) spans.push({ owner, from: 0, to: instructed });
  const ids = new Map([...holdings].map(([owner, { id }]) => [owner, id]));
  return Plan.build(spans, (owner, segment) => cellIndex(next.indexKey, ids.get(owner) ?? new Uint8Array(), segment));
}

/** Entries of the plan for segments of a holding that may be stored from now on, up to `to`. */
export function entriesToAdd(holding: Holding, to: number, next: Epoch, isMoved: IsMoved): PlanEntry<string>[] {
  const owner = toHex(holding.id);
  const added = Array.from({ length: to - holding.instructed }, (_, i) => {
    const segment = holding.instructed + i;
    return { owner, segment, index: cellIndex(next.indexKey, holding.id, segment) };
  });
  return added.filter(({ index }) => !isMoved(index));
}

/** The next step: at most `limit` cells staged, MAX_MASKED of them by mask, few of points, and MAX_MOVED removed. */
export function nextStep(
  { lane, end, leavesOld }: LaneOfSweep,
  plan: Plan<string>,
  limit: number,
  modeOf: ModeOf,
): Lane {
  const staged = fitting(plan.after(lane.from, limit + 1), end, limit, modeOf, STEP_POINTS);
  const step = { ...lane, number: lane.number + 1, underWay: true, upTo: staged };
  if (leavesOld) return { ...step, mark: staged };
  const most = Math.min(MAX_MOVED, plan.rank(lane.from) - plan.rank(lane.prev)) + 1;
  const forgotten = fitting(plan.after(lane.prev, most), end, MAX_MOVED);
  return { ...step, mark: compareBytes(forgotten, lane.from) < 0 ? forgotten : lane.from };
}

/**
 * The pending step, limited to the size of a message. After a restart the plan also holds cells that were stored
 * directly in the new epoch while the message was pending. Cells that do not fit are left to the next step, which finds
 * them already staged.
 */
export function fittedStep({ lane, leavesOld }: LaneOfSweep, plan: Plan<string>, modeOf: ModeOf): Lane {
  const staged = fitting(plan.after(lane.from, MAX_MOVED + 1), lane.upTo, MAX_MOVED, modeOf);
  if (leavesOld) return { ...lane, upTo: staged, mark: staged };
  const forgotten = fitting(plan.after(lane.prev, MAX_MOVED + 1), lane.mark, MAX_MOVED);
  return { ...lane, upTo: staged, mark: forgotten };
}

/** `high`, or the last index below it up to which the entries fit into one message. */
function fitting(
  entries: readonly PlanEntry<string>[],
  high: Bytes,
  limit: number,
  modeOf?: ModeOf,
  mostPoints = MAX_POINTS,
): Bytes {
  let masked = 0;
  let points = 0;
  for (const [i, { owner, segment, index }] of entries.entries()) {
    if (compareBytes(index, high) > 0) return high;
    const mode = modeOf?.(owner, segment);
    if (mode === 'delta') masked++;
    if (mode === 'key-homomorphic') points++;
    if (i === limit || masked > MAX_MASKED || points > mostPoints) return copyBytes(entries[i - 1]?.index ?? high);
  }
  return high;
}

export const committed = (lane: Lane): Lane => ({
  ...lane,
  underWay: false,
  planned: 0,
  prev: lane.mark,
  from: lane.upTo,
});

/** Cells that a step stages. */
export const plannedIn = ({ items, masked, points }: MaintainMessage): number =>
  items.count + masked.count + points.count;

/** Cells processed before the event loop gets a turn: one or two milliseconds. */
const BREATH = 64;

/** The message of a lane's pending step. It depends only on the playbook and is built each time. */
export async function maintainMessage(
  { to, at: laneNumber, lane, leavesOld }: LaneOfSweep,
  plan: Plan<string>,
  epochs: { current: Epoch; next: Epoch },
  holdingOf: HoldingOf,
  modeOf: ModeOf,
  labelOf: LabelOf,
): Promise<MaintainMessage> {
  const { current, next } = epochs;
  const before = (entry: PlanEntry<string>, { id }: Holding): Bytes =>
    plan.before(entry, () => cellIndex(current.indexKey, id, entry.segment));
  const staged: { entry: PlanEntry<string>; holding: Holding; mode: MaintenanceMode }[] = [];
  const counts = { rekey: 0, delta: 0, 'key-homomorphic': 0 };
  for (const entry of plan.between(lane.from, lane.upTo)) {
    const holding = holdingOf(entry.owner);
    if (holding === undefined || !isCarried(holding, entry.segment)) continue;
    const mode = modeOf(entry.owner, entry.segment);
    staged.push({ entry, holding, mode });
    counts[mode]++;
  }
  const items = Packed.blank(MAINTAIN.items, counts.rekey);
  const masked = Packed.blank(MAINTAIN.masked, counts.delta);
  const points = Packed.blank(MAINTAIN.points, counts['key-homomorphic']);
  const at = { rekey: 0, delta: 0, 'key-homomorphic': 0 };
  for (const [i, { entry, holding, mode }] of staged.entries()) {
    if (i % BREATH === BREATH - 1) await breathe();
    const { segment } = entry;
    const n = at[mode]++;
    const oldKey = layerKey(current.key, holding, segment);
    const newKey = layerKey(next.key, holding, segment);
    const flags = segment < holding.stored ? 0 : MAY_BE_ABSENT;
    const place = (cells: MovedCells | MaskedCells | PointsCells) =>
      fill(cells, n, before(entry, holding), entry.index, flags);
    switch (mode) {
      case 'rekey':
        place(items);
        items.set(n, 'oldKey', oldKey);
        items.set(n, 'newKey', newKey);
        break;
      case 'delta':
        place(masked);
        outerMask(oldKey, newKey, masked.view(n, 'mask'));
        break;
      case 'key-homomorphic': {
        place(points);
        const token = pointsToken(oldKey, newKey);
        points.set(n, 'token', token);
        points.set(n, 'label', labelOf(holding, segment));
        wipe(token);
      }
    }
    wipe(oldKey, newKey);
  }
  const vacated = leavesOld ? [] : plan.between(lane.prev, lane.mark);
  const left = vacated.filter(({ owner }) => holdingOf(owner) !== undefined);
  const forget = Packed.blank(MAINTAIN.forget, left.length);
  for (const [i, entry] of left.entries()) {
    if (i % BREATH === BREATH - 1) await breathe();
    const holding = holdingOf(entry.owner);
    if (holding !== undefined) forget.set(i, 'index', before(entry, holding));
  }
  const { number, fence } = lane;
  return { type: 'maintain', to, lane: laneNumber, number, fence, items, masked, points, forget };
}

function fill(
  cells: MovedCells | MaskedCells | PointsCells,
  at: number,
  oldIndex: Bytes,
  newIndex: Bytes,
  flags: number,
): void {
  cells.set(at, 'oldIndex', oldIndex);
  cells.set(at, 'newIndex', newIndex);
  cells.setNumber(at, 'flags', flags);
}

/** Maps new indexes of the pending step back to names. */
export function namer(
  lane: Lane,
  plan: Plan<string>,
  isDecoys: (owner: string) => boolean,
): (index: Bytes) => CellName {
  const names = new Map<string, CellName>();
  for (const { owner, segment, index } of plan.between(lane.from, lane.upTo)) {
    names.set(toHex(index), { design: isDecoys(owner) ? undefined : owner, segment });
  }
  return (index) => names.get(toHex(index)) ?? { design: undefined, segment: -1 };
}

function breathe(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
