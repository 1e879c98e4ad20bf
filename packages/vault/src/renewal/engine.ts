import type { Bytes } from '@millrace/base';
import type { CellHead, Cells, NewCell } from '@millrace/stores';
import { MAY_BE_ABSENT, type MaintainMessage } from '../messages.ts';

/** A cell store that can renew its cells in steps of a sweep. */
export interface CellEngine {
  readonly cells: Cells;
  /**
   * Durably stages the step's cells that are renewed by keys or masks, and `renewed`; then removes the old places of
   * the previous step. An interrupted step is repeated as a whole.
   * @param renewed cells of the step that are already renewed
   */
  renew(step: MaintainMessage, renewed: readonly NewCell[]): Promise<StepOutcome>;
}

/** Result of a step of a sweep, by new index. */
export interface StepOutcome {
  readonly missing: Bytes[];
  readonly damaged: Bytes[];
  /** Cells that are in the new epoch now, and cells that may be absent and are. */
  readonly staged: number;
  readonly absent: number;
  /** Core time, ms. */
  readonly workMs: number;
}

type Head = Pick<CellHead, 'epoch' | 'length'>;

/** Action for a cell of a step. */
export type Verdict = 'staged' | 'absent' | 'missing' | 'damaged' | 'renew';

/**
 * Judges a cell by the heads of its new and its old place.
 * @param length length of the body for this kind of cell
 */
export function judge(
  step: { readonly to: number; readonly flags: number; readonly length: number },
  staged: Head | undefined,
  old: Head | undefined,
): Verdict {
  const { to, flags, length } = step;
  if (staged !== undefined && staged.epoch === to && staged.length === length) return 'staged';
  if (old === undefined) return (flags & MAY_BE_ABSENT) === 0 ? 'missing' : 'absent';
  // The epoch prevents applying a layer twice, or applying it to a cell that is not from the previous epoch.
  return old.length === length && old.epoch === to - 1 ? 'renew' : 'damaged';
}
