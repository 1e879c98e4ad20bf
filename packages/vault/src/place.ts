import { type Bytes, compareBytes } from '@millrace/base';
import type { Epoch } from './epochs.ts';
import { cellIndex } from './outer.ts';

/** Where a cell is: in the next epoch when its index there is not above the boundary, else in the current one. */
export function place(
  id: Bytes,
  segment: number,
  boundary: Bytes,
  current: Epoch,
  next: Epoch | undefined,
): { index: Bytes; epoch: Epoch } {
  if (next !== undefined) {
    const index = cellIndex(next.indexKey, id, segment);
    if (compareBytes(index, boundary) <= 0) return { index, epoch: next };
  }
  return { index: cellIndex(current.indexKey, id, segment), epoch: current };
}
