import type { Bytes } from '@millrace/base/core';
import { addPoints, movePoints, takeOffPoints } from './layer.ts';

/** Arithmetic of one cell: two thirds of a second of a core, too long for an event loop. */
export interface PointsJob {
  /** `add` and `takeOff` with a key, `move` with a token. */
  readonly kind: 'add' | 'move' | 'takeOff';
  readonly scalar: Uint8Array;
  readonly label: Uint8Array;
  /** A sealed segment to `add` to, else a cell's body. */
  readonly bytes: Uint8Array;
}

export interface PointsDone {
  readonly bytes: Bytes;
  /** Time of one core, ms. */
  readonly workMs: number;
}

/** Runs the arithmetic of points. */
export interface PointsEngine {
  /** @throws {MillraceError} E_CELL_DAMAGED, E_SEAL (`takeOff` only) */
  run(job: PointsJob): Promise<PointsDone>;
}

/** Runs a job in the calling thread. */
export function runPointsJob({ kind, scalar, label, bytes }: PointsJob): PointsDone {
  const started = performance.now();
  const work = { add: addPoints, move: movePoints, takeOff: takeOffPoints }[kind];
  return { bytes: work(scalar, label, bytes), workMs: performance.now() - started };
}
