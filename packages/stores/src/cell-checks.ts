import { MillraceError } from '@millrace/base';
import type { CellIndex, IndexRange, NewCell } from './cells.ts';

const MAX_INDEX_BYTES = 64;
const MAX_EPOCH = 0xffff_ffff;

export function checkIndex(index: CellIndex): void {
  if (index.length >= 1 && index.length <= MAX_INDEX_BYTES) return;
  const text = `an index has 1 to ${MAX_INDEX_BYTES} bytes, not ${index.length}`;
  throw new MillraceError('E_INPUT', text, { data: { length: index.length } });
}

export function checkEpoch(epoch: number): void {
  if (Number.isInteger(epoch) && epoch >= 0 && epoch <= MAX_EPOCH) return;
  throw new MillraceError('E_INPUT', `an epoch is 0 to ${MAX_EPOCH}, not ${epoch}`, { data: { epoch } });
}

export function checkCells(cells: readonly NewCell[]): void {
  for (const { index, epoch } of cells) {
    checkIndex(index);
    checkEpoch(epoch);
  }
}

export function checkIndexRange({ after, upto }: IndexRange): void {
  for (const bound of [after, upto]) if (bound !== undefined) checkIndex(bound);
}
