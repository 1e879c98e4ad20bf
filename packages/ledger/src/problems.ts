import { MillraceError } from '@millrace/base';

/** A problem found by a check. */
export interface LedgerProblem {
  readonly code: ProblemCode;
  readonly part: 'checkpoint' | 'entry' | 'opening' | 'tile' | 'account' | 'index' | 'map';
  readonly message: string;
  /** Log index concerned. */
  readonly index?: number;
  /** Tile concerned. */
  readonly path?: string;
  readonly account?: string;
}

export type ProblemCode = 'E_LEDGER_ENTRY' | 'E_LEDGER_TRUNCATED' | 'E_LEDGER_CHECKPOINT';

const LISTED = 100;

/** Keeps the first hundred problems and counts the rest. */
export class ProblemList {
  readonly list: LedgerProblem[] = [];
  total = 0;

  add(
    code: ProblemCode,
    part: LedgerProblem['part'],
    message: string,
    where: Pick<LedgerProblem, 'index' | 'path' | 'account'> = {},
  ): void {
    this.total += 1;
    if (this.list.length < LISTED) this.list.push({ code, part, message, ...where });
  }

  addAll(other: ProblemList): void {
    for (const problem of other.list) if (this.list.length < LISTED) this.list.push(problem);
    this.total += other.total;
  }
}

/** Whether the error says that something in the store is missing or damaged. */
export function isDamage(error: unknown): error is MillraceError {
  return error instanceof MillraceError && (error.code === 'E_LEDGER_ENTRY' || error.code === 'E_LEDGER_TRUNCATED');
}
