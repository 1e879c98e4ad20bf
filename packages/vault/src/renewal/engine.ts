import type { Bytes } from '@millrace/base';
import type { CellHead, Cells, NewCell } from '@millrace/stores';
import { MAY_BE_ABSENT, type MaintainMessage } from '../messages.ts';

/** Cells, and what takes a step of a sweep over them. */
export interface CellEngine {
  readonly cells: Cells;
  /**
   * Durably stages the cells of a step that go by keys or by masks, and `renewed`; then removes the old places of the
   * previous step. A step that is cut short is repeated as a whole.
   * @param renewed cells of the step that were renewed already
   */
  renew(step: MaintainMessage, renewed: readonly NewCell[]): Promise<StepOutcome>;
}

/** How a step of a sweep went, by new index. */
export interface StepOutcome {
  readonly missing: Bytes[];
  readonly damaged: Bytes[];
  /** Of one core. */
  readonly workMs: number;
}

type Head = Pick<CellHead, 'epoch' | 'length'>;

/** What to do with a cell of a step. */
export type Verdict = 'done' | 'missing' | 'damaged' | 'renew';

/**
 * Judges a cell by the heads of its new and its old place.
 * @param length of bodies of its kind
 */
export function judge(
  step: { readonly to: number; readonly flags: number; readonly length: number },
  staged: Head | undefined,
  old: Head | undefined,
): Verdict {
  const { to, flags, length } = step;
  if (staged !== undefined && staged.epoch === to && staged.length === length) return 'done';
  if (old === undefined) return (flags & MAY_BE_ABSENT) === 0 ? 'missing' : 'done';
  // The epoch prevents applying a layer twice, or to a cell that is not of the previous epoch.
  return old.length === length && old.epoch === to - 1 ? 'renew' : 'damaged';
}
