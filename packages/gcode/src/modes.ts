import type { CycleState } from './cycles.ts';

/** What the lines before it leave to a line: how its words are read, and where the machine is. */
export interface Modes {
  /** Machine position = logical position + offset (G92): X, Y, Z, E in mm. */
  readonly offset: Float64Array;
  /** mm/s. */
  feed: number;
  feedFactor: number;
  flow: number;
  /** mm of a unit of the file. */
  unit: number;
  /** G91. */
  relative: boolean;
  relativeFilament: boolean;
  plane: number;
  /** The motion in force, for lines without a code. */
  motion: number | undefined;
  retracted: boolean;
  /** Height of the current layer, mm. */
  layerZ: number;
}

/** @param feed mm/s */
export function modesAtStart(feed: number): Modes {
  return {
    ...{ offset: new Float64Array(4), feed, feedFactor: 1, flow: 1, unit: 1, relative: false, relativeFilament: false },
    ...{ plane: 17, motion: undefined, retracted: false, layerZ: Number.NEGATIVE_INFINITY },
  };
}

/** State between two lines, from which the path of the lines after it can be read. */
export interface Saved {
  readonly modes: Modes;
  readonly cycle: CycleState;
  readonly layers: number;
  readonly tool: number;
  readonly spindle: boolean;
  /** X, Y, Z, E in mm. */
  readonly position: Float64Array;
}
