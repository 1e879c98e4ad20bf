import { type Bytes, compareBytes, copyBytes, toHex } from '@millrace/base';
import type { Epoch } from '../epochs.ts';
import { laneOf, laneStart, leavesOld, movedBy } from '../lanes.ts';
import { type CheckedMessage, type CheckMessage, type ExpectedCell, MAX_CHECKED, MAY_BE_ABSENT } from '../messages.ts';
import { cellIndex } from '../outer.ts';
import { place } from '../place.ts';
import { END, Plan, type PlanEntry, START } from '../plan.ts';
import type { Holding, VaultState } from '../records.ts';
import { Findings, mustHave } from './findings.ts';

export interface PlacesOptions {
  readonly id: Bytes;
  readonly holdings: readonly Holding[];
  readonly state: VaultState;
  readonly current: Epoch;
  readonly next: Epoch | undefined;
}

/**
 * Compares all cells in the order of their indexes. Finds missing and extra cells, wrong lengths and wrong epochs. The
 * playbook does not change during the pass. Only the index is read.
 */
export class PlacesPass {
  readonly findings = new Findings();
  readonly extra = new Set<string>();
  readonly #options: PlacesOptions;
  readonly #plan: Plan<Holding | undefined>;
  #after = START;
  #upto = START;
  #done = false;

  private constructor(options: PlacesOptions, plan: Plan<Holding | undefined>) {
    this.#options = options;
    this.#plan = plan;
  }

  static async begin(options: PlacesOptions): Promise<PlacesPass> {
    const { holdings, state, current, next } = options;
    const { sweep } = state;
    const isMoved = movedBy(sweep);
    /** Old places of cells up to this index are removed. */
    const forgotten = (index: Bytes): Bytes => {
      const lanes = sweep?.lanes ?? [];
      const at = laneOf(index, lanes.length);
      return sweep !== undefined && leavesOld(sweep) ? laneStart(at, lanes.length) : (lanes[at]?.prev ?? START);
    };
    const leftovers: PlanEntry<undefined>[] = [];
    const spans = holdings
      .filter(({ instructed }) => instructed > 0)
      .map((owner) => ({ owner, from: 0, to: owner.instructed }));
    const plan = await Plan.build<Holding | undefined>(spans, (owner, segment) => {
      if (owner === undefined) return END;
      const placed = place(owner.id, segment, isMoved, current, next);
      // Staged and committed. Its old place is removed by the next message.
      if (placed.epoch === next && compareBytes(placed.index, forgotten(placed.index)) > 0) {
        leftovers.push({ owner: undefined, segment, index: cellIndex(current.indexKey, owner.id, segment) });
      }
      return placed.index;
    });
    plan.add(leftovers);
    return new PlacesPass(options, plan);
  }

  get done(): boolean {
    return this.#done;
  }

  next(part: number, limit: number): CheckMessage {
    const entries = this.#plan.after(this.#after, Math.min(limit, MAX_CHECKED));
    const last = entries.at(-1)?.index ?? END;
    this.#upto = this.#plan.after(last, 1)[0] === undefined ? END : last;
    return {
      type: 'check',
      check: copyBytes(this.#options.id),
      part,
      last: compareBytes(this.#upto, END) === 0,
      deep: false,
      oldest: this.#options.state.epoch,
      after: copyBytes(this.#after),
      upto: copyBytes(this.#upto),
      cells: entries.map((entry) => this.#expected(entry)),
    };
  }

  take(message: CheckedMessage): void {
    const names = new Map(this.#plan.between(this.#after, this.#upto).map((entry) => [toHex(entry.index), entry]));
    for (const kind of ['missing', 'damaged'] as const) {
      for (const index of message[kind]) {
        const entry = names.get(toHex(index));
        if (entry?.owner !== undefined) this.findings.add(kind, entry.owner, entry.segment);
      }
    }
    for (const index of message.extra) this.extra.add(toHex(index));
    this.#after = this.#upto;
    this.#done = compareBytes(this.#upto, END) === 0;
  }

  #expected({ owner, segment, index }: PlanEntry<Holding | undefined>): ExpectedCell {
    const { current, next, state } = this.#options;
    if (owner === undefined) return { index, epoch: current.number, flags: MAY_BE_ABSENT };
    const { epoch } = place(owner.id, segment, movedBy(state.sweep), current, next);
    return { index, epoch: epoch.number, flags: segment < mustHave(owner) ? 0 : MAY_BE_ABSENT };
  }
}
