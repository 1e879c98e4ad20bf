import { equalBytes } from '@millrace/base';
import type { EpochKeys } from './epochs.ts';
import { modesOf } from './holding-modes.ts';
import { MAX_MOVED, type MaintainMessage, wipeMessage } from './messages.ts';
import type { Plan } from './plan.ts';
import type { Holding, Sweep } from './records.ts';
import { committed, fittedStep, isEnded, type LabelOf, maintainMessage, nextStep } from './sweep.ts';

/**
 * Steps of a sweep and their messages. The next message is prepared while the segments node works on the pending one,
 * so that neither node waits for the other. Any change in the meantime invalidates the prepared message; it is then
 * built when it is due.
 */
export class Steps {
  readonly #holdings: ReadonlyMap<string, Holding>;
  readonly #epochs: EpochKeys;
  readonly #labelOf: LabelOf;
  #made: { readonly sweep: Sweep; readonly plan: Plan<string>; readonly message: MaintainMessage } | undefined;
  /** Replaced by a new object whenever the holdings or the plan change. */
  #state = {};

  constructor(holdings: ReadonlyMap<string, Holding>, epochs: EpochKeys, labelOf: LabelOf) {
    this.#labelOf = labelOf;
    this.#holdings = holdings;
    this.#epochs = epochs;
  }

  /** The pending step, or the next one of at most `limit` cells. */
  step(sweep: Sweep, plan: Plan<string>, limit: number): Sweep {
    const modeOf = modesOf(this.#holdings.values());
    return sweep.underWay ? fittedStep(sweep, plan, modeOf) : nextStep(sweep, plan, Math.min(limit, MAX_MOVED), modeOf);
  }

  /** The step's message, prepared in advance or built now. The caller wipes it. */
  async message(sweep: Sweep, plan: Plan<string>): Promise<MaintainMessage> {
    const made = this.#made;
    this.#made = undefined;
    if (made !== undefined && made.plan === plan && isSame(made.sweep, sweep)) return made.message;
    if (made !== undefined) wipeMessage(made.message);
    return this.#make(sweep, plan);
  }

  /** Prepares the message of the step after the pending one. */
  async ahead(now: Sweep, plan: Plan<string>, limit: number): Promise<void> {
    const sweep = now.underWay ? committed(now) : now;
    if (isEnded(sweep)) return;
    const step = this.step(sweep, plan, limit);
    if (this.#made?.plan === plan && isSame(this.#made.sweep, step)) return;
    const state = this.#state;
    const message = await this.#make(step, plan);
    if (state !== this.#state) return wipeMessage(message);
    if (this.#made !== undefined) wipeMessage(this.#made.message);
    this.#made = { sweep: step, plan, message };
  }

  /** Invalidates a message that was prepared in advance. */
  changed(): void {
    this.#state = {};
    if (this.#made !== undefined) wipeMessage(this.#made.message);
    this.#made = undefined;
  }

  #make(sweep: Sweep, plan: Plan<string>): Promise<MaintainMessage> {
    const epochs = { current: this.#epochs.get(sweep.to - 1), next: this.#epochs.get(sweep.to) };
    const holdingOf = (owner: string) => this.#holdings.get(owner);
    return maintainMessage(sweep, plan, epochs, holdingOf, modesOf(this.#holdings.values()), this.#labelOf);
  }
}

function isSame(a: Sweep, b: Sweep): boolean {
  const places = ['prev', 'mark', 'from', 'upTo'] as const;
  return a.to === b.to && a.number === b.number && places.every((at) => equalBytes(a[at], b[at]));
}
