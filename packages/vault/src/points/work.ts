import type { Bytes } from '@millrace/base/core';
import { addPoints, movePoints, takeOffPoints } from './layer.ts';

/** One cell's arithmetic: two thirds of a second of a core, so nobody's event loop does it. */
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
  /** What it took of one core. */
  readonly workMs: number;
}

/** Whoever does the arithmetic. */
export interface PointsEngine {
  /** @throws {MillraceError} E_CELL_DAMAGED, E_SEAL (`takeOff` only) */
  run(job: PointsJob): Promise<PointsDone>;
}

/** Does a job where it is called. */
export function runPointsJob({ kind, scalar, label, bytes }: PointsJob): PointsDone {
  const started = performance.now();
  const work = { add: addPoints, move: movePoints, takeOff: takeOffPoints }[kind];
  return { bytes: work(scalar, label, bytes), workMs: performance.now() - started };
}
