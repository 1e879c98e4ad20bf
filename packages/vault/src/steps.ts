import { equalBytes } from '@millrace/base';
import type { EpochKeys } from './epochs.ts';
import { modesOf } from './holding-modes.ts';
import { MAX_MOVED, type MaintainMessage, wipeMessage } from './messages.ts';
import type { Plan } from './plan.ts';
import type { Holding, Lane } from './records.ts';
import { committed, fittedStep, type LabelOf, type LaneOfSweep, maintainMessage, nextStep } from './sweep.ts';

interface Made {
  readonly step: LaneOfSweep;
  readonly plan: Plan<string>;
  readonly message: MaintainMessage;
}

/**
 * Steps of a sweep and their messages. The next message is prepared while the segments node works on the pending one,
 * so that neither node waits for the other. Any change in the meantime invalidates the prepared message; it is then
 * built when it is due.
 */
export class Steps {
  readonly #holdings: ReadonlyMap<string, Holding>;
  readonly #epochs: EpochKeys;
  readonly #labelOf: LabelOf;
  /** By the number of the lane. */
  readonly #made = new Map<number, Made>();
  /** Replaced by a new object whenever the holdings or the plan change. */
  #state = {};

  constructor(holdings: ReadonlyMap<string, Holding>, epochs: EpochKeys, labelOf: LabelOf) {
    this.#labelOf = labelOf;
    this.#holdings = holdings;
    this.#epochs = epochs;
  }

  /** The pending step, or the next one of at most `limit` cells. */
  step(now: LaneOfSweep, plan: Plan<string>, limit: number): LaneOfSweep {
    const modeOf = modesOf(this.#holdings.values());
    const lane = now.lane.underWay
      ? fittedStep(now, plan, modeOf)
      : nextStep(now, plan, Math.min(limit, MAX_MOVED), modeOf);
    return { ...now, lane };
  }

  /** The step's message, prepared in advance or built now. The caller wipes it. */
  async message(step: LaneOfSweep, plan: Plan<string>): Promise<MaintainMessage> {
    const made = this.#made.get(step.at);
    this.#made.delete(step.at);
    if (made !== undefined && made.plan === plan && isSame(made.step, step))
      return { ...made.message, fence: step.lane.fence };
    if (made !== undefined) wipeMessage(made.message);
    return this.#make(step, plan);
  }

  /** Prepares the message of the step after the pending one. */
  async ahead(now: LaneOfSweep, plan: Plan<string>, limit: number): Promise<void> {
    const lane = now.lane.underWay ? committed(now.lane) : now.lane;
    if (equalBytes(lane.prev, now.end)) return;
    const step = this.step({ ...now, lane }, plan, limit);
    const known = this.#made.get(now.at);
    if (known?.plan === plan && isSame(known.step, step)) return;
    const state = this.#state;
    const message = await this.#make(step, plan);
    if (state !== this.#state) return wipeMessage(message);
    const replaced = this.#made.get(now.at);
    if (replaced !== undefined) wipeMessage(replaced.message);
    this.#made.set(now.at, { step, plan, message });
  }

  /** Invalidates messages that were prepared in advance. */
  changed(): void {
    this.#state = {};
    for (const { message } of this.#made.values()) wipeMessage(message);
    this.#made.clear();
  }

  #make(step: LaneOfSweep, plan: Plan<string>): Promise<MaintainMessage> {
    const epochs = { current: this.#epochs.get(step.to - 1), next: this.#epochs.get(step.to) };
    const holdingOf = (owner: string) => this.#holdings.get(owner);
    return maintainMessage(step, plan, epochs, holdingOf, modesOf(this.#holdings.values()), this.#labelOf);
  }
}

/** Whether both have the same message. The fence is not compared: it is set when the message is due. */
function isSame(a: LaneOfSweep, b: LaneOfSweep): boolean {
  const places = ['prev', 'mark', 'from', 'upTo'] as const satisfies readonly (keyof Lane)[];
  return a.to === b.to && a.lane.number === b.lane.number && places.every((at) => equalBytes(a.lane[at], b.lane[at]));
}
