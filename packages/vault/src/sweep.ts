import { type Bytes, compareBytes } from '@millrace/base';
import type { Epoch } from './epochs.ts';
import { MAX_CELLS, MAY_BE_ABSENT, type MaintainMessage } from './messages.ts';
import { cellIndex, outerKey } from './outer.ts';
import { END, type Plan, type PlanEntry, START } from './plan.ts';
import type { Holding, Sweep } from './records.ts';

// The arithmetic of a sweep (spec/vault.md, section 6); nothing here is stored or sent.

export type HoldingOf = (owner: string) => Holding | undefined;

export function newSweep(to: number): Sweep {
  return { to, number: 0, underWay: false, prev: START, mark: START, from: START, upTo: START };
}

export const isEnded = (sweep: Sweep): boolean => compareBytes(sweep.prev, END) === 0;

/** Cells up to here belong into the new epoch when they are stored now. */
export function storeBoundary(sweep: Sweep): Bytes {
  return sweep.underWay ? sweep.upTo : sweep.from;
}

/** Whether sweeps carry this cell on; if not, they only forget it. */
export function isCarried(holding: Holding, segment: number): boolean {
  return segment < holding.instructed && (holding.retire === undefined || segment < holding.retire);
}

/** What the next message does: at most `limit` cells staged, at most 256 forgotten. */
export function nextStep<Owner>(sweep: Sweep, plan: Plan<Owner>, limit: number): Sweep {
  const staged = plan.after(sweep.from, limit);
  const forgotten = plan.after(sweep.prev, MAX_CELLS);
  const lastForgotten = forgotten.length < MAX_CELLS ? END : (forgotten.at(-1)?.index ?? END);
  return {
    ...sweep,
    number: sweep.number + 1,
    underWay: true,
    upTo: staged.length < limit ? END : (staged.at(-1)?.index ?? END),
    mark: compareBytes(lastForgotten, sweep.from) < 0 ? lastForgotten : sweep.from,
  };
}

/**
 * The step under way, no larger than a message may be. After a restart the plan also holds cells that were stored
 * straight into the new epoch while the message was under way; what no longer fits is left to the next step, where
 * staging finds it done.
 */
export function fittedStep<Owner>(sweep: Sweep, plan: Plan<Owner>): Sweep {
  const staged = plan.after(sweep.from, MAX_CELLS + 1);
  const forgotten = plan.after(sweep.prev, MAX_CELLS + 1);
  return { ...sweep, upTo: fitted(staged, sweep.upTo), mark: fitted(forgotten, sweep.mark) };
}

function fitted<Owner>(entries: readonly PlanEntry<Owner>[], high: Bytes): Bytes {
  const overflow = entries[MAX_CELLS];
  if (overflow === undefined || compareBytes(overflow.index, high) > 0) return high;
  return entries[MAX_CELLS - 1]?.index ?? high;
}

export const committed = (sweep: Sweep): Sweep => ({ ...sweep, underWay: false, prev: sweep.mark, from: sweep.upTo });

/** The message of the step under way, built anew each time: it is a function of the playbook. */
export function maintainMessage(
  sweep: Sweep,
  plan: Plan<string>,
  epochs: { current: Epoch; next: Epoch },
  holdingOf: HoldingOf,
): MaintainMessage {
  const { current, next } = epochs;
  const items: MaintainMessage['items'] = [];
  const forget: Bytes[] = [];
  for (const { owner, segment, index } of plan.between(sweep.from, sweep.upTo)) {
    const holding = holdingOf(owner);
    if (holding === undefined || !isCarried(holding, segment)) continue;
    items.push({
      oldIndex: cellIndex(current.indexKey, holding.id, segment),
      newIndex: index,
      oldKey: outerKey(current.key, holding.id, segment),
      newKey: outerKey(next.key, holding.id, segment),
      flags: segment < holding.stored ? 0 : MAY_BE_ABSENT,
    });
  }
  for (const { owner, segment } of plan.between(sweep.prev, sweep.mark)) {
    const holding = holdingOf(owner);
    if (holding !== undefined) forget.push(cellIndex(current.indexKey, holding.id, segment));
  }
  return { type: 'maintain', to: sweep.to, number: sweep.number, items, forget };
}
