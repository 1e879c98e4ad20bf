import type { Bytes } from '@millrace/base/core';
import { addPoints, movePoints, takeOffPoints } from './layer.ts';

/** Point arithmetic of one cell: two thirds of a core-second, too long for an event loop. */
export interface PointsJob {
  /** `add` and `takeOff` use a key, `move` a token. */
  readonly kind: 'add' | 'move' | 'takeOff';
  readonly scalar: Uint8Array;
  readonly label: Uint8Array;
  /** The sealed segment for `add`, otherwise a cell's body. */
  readonly bytes: Uint8Array;
}

export interface PointsDone {
  readonly bytes: Bytes;
  /** Core time, ms. */
  readonly workMs: number;
}

/** Runs point arithmetic. */
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
