import type { Bytes } from '@millrace/base';
import type { Epoch } from './epochs.ts';
import type { IsMoved } from './lanes.ts';
import { cellIndex } from './outer.ts';

/** Place of a cell: in the next epoch if it has been moved there, otherwise in the current epoch. */
export function place(
  id: Bytes,
  segment: number,
  isMoved: IsMoved,
  current: Epoch,
  next: Epoch | undefined,
): { index: Bytes; epoch: Epoch } {
  if (next !== undefined) {
    const index = cellIndex(next.indexKey, id, segment);
    if (isMoved(index)) return { index, epoch: next };
  }
  return { index: cellIndex(current.indexKey, id, segment), epoch: current };
}
