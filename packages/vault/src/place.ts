import { type Bytes, compareBytes } from '@millrace/base';
import type { Epoch } from './epochs.ts';
import { cellIndex } from './outer.ts';

/** Place of a cell: in the next epoch if its index there is not above the boundary, otherwise in the current epoch. */
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
