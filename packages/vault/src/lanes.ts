import { type Bytes, compareBytes } from '@millrace/base';
import { END, START } from './plan.ts';
import type { Lane, Sweep } from './records.ts';

// Lanes of a sweep: the new indexes are divided by their first bits, and each lane has watermarks of its own.

/** Most lanes of a sweep. */
export const LANES = 64;
/** Cells in a lane, below which further lanes cost more in messages than they divide: a megabyte. */
const CELLS_IN_LANE = 64;

/**
 * Lanes of a sweep of cells that several segments nodes share: a power of two from 2 to 64. Every node gets at least
 * two, so that a fast one can take over from a slow one.
 * @param cells cells of the vault, with decoys
 * @param nodes segments nodes that answer
 */
export function lanesFor(cells: number, nodes: number): number {
  let lanes = 2;
  while (lanes < LANES && (lanes < 2 * nodes || lanes * CELLS_IN_LANE < cells)) lanes *= 2;
  return lanes;
}

/** @param lanes number of lanes */
export const laneOf = (index: Uint8Array, lanes: number): number => ((index[0] ?? 0) * lanes) >> 8;

/** The highest index of a lane. */
export function laneEnd(lane: number, lanes: number): Bytes {
  const end = END.slice();
  end[0] = ((lane + 1) * 256) / lanes - 1;
  return end;
}

/** Below every index of a lane, and not below the highest of the lane before. */
export const laneStart = (lane: number, lanes: number): Bytes => (lane === 0 ? START : laneEnd(lane - 1, lanes));

export function newSweep(to: number, lanes: number): Sweep {
  const begun = (at: Bytes): Lane => ({
    number: 0,
    fence: 0,
    underWay: false,
    planned: 0,
    prev: at,
    mark: at,
    from: at,
    upTo: at,
  });
  return { to, lanes: Array.from({ length: lanes }, (_, lane) => begun(laneStart(lane, lanes))) };
}

export function laneAt({ lanes }: Sweep, at: number): Lane | undefined {
  return lanes[at];
}

export function withLane(sweep: Sweep, at: number, lane: Lane): Sweep {
  return { ...sweep, lanes: sweep.lanes.map((each, i) => (i === at ? lane : each)) };
}

export function isEnded({ lanes }: Sweep, at: number): boolean {
  const lane = lanes[at];
  return lane === undefined || compareBytes(lane.prev, laneEnd(at, lanes.length)) === 0;
}

/** Lanes that may have a message: those that have not ended. If only the commit is missing, the first lane. */
export function lanesToAsk(sweep: Sweep | undefined): number[] {
  const left = lanesLeft(sweep);
  return sweep !== undefined && left.length === 0 ? [0] : left;
}

/** Lanes that have not ended. */
export function lanesLeft(sweep: Sweep | undefined): number[] {
  return sweep === undefined ? [] : [...sweep.lanes.keys()].filter((at) => !isEnded(sweep, at));
}

export const isUnderWay = (sweep: Sweep | undefined): boolean => sweep?.lanes.some(({ underWay }) => underWay) === true;

/**
 * Whether a sweep leaves the old places of its cells to the drop of their epoch. It does if it has several lanes: the
 * nodes then read cells of streams in their own order, and the store that they share does not reuse the space before.
 */
export const leavesOld = ({ lanes }: Sweep): boolean => lanes.length > 1;

/** Whether the cell with this index in the next epoch has been moved there. */
export type IsMoved = (index: Uint8Array) => boolean;

/** By the committed steps: where a cell is. */
export const movedBy =
  (sweep: Sweep | undefined): IsMoved =>
  (index) => {
    const lane = sweep?.lanes[laneOf(index, sweep.lanes.length)];
    return lane !== undefined && compareBytes(index, lane.from) <= 0;
  };

/** By the pending steps as well: where a cell is to be stored. */
export const movingBy =
  (sweep: Sweep | undefined): IsMoved =>
  (index) => {
    const lane = sweep?.lanes[laneOf(index, sweep.lanes.length)];
    return lane !== undefined && compareBytes(index, lane.underWay ? lane.upTo : lane.from) <= 0;
  };
