import type { CheckView } from '@millrace/api';
import { type Clock, MillraceError, systemRandom, toHex } from '@millrace/base';

interface Check {
  readonly started: number;
  readonly deep: boolean;
  result?: object;
}

/** A check without a result after this time counts as lost, ms. */
const LOST_MS = 3_600_000;
const MAX_CHECKS = 100;

/** Running and finished checks of the vault; the newest hundred, in memory. One runs at a time. */
export class CheckBoard {
  readonly #checks = new Map<string, Check>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * @returns the check's id, and whether the check is new. A request made during a check gets the id of the running
   * check
   * @throws {MillraceError} E_CONFLICT when a deep check is requested while one that is not deep runs
   */
  begin(deep: boolean): { check: string; fresh: boolean } {
    for (const [check, running] of this.#checks) {
      if (running.result !== undefined || this.#clock.monotonic() - running.started > LOST_MS) continue;
      if (running.deep || !deep) return { check, fresh: false };
      throw new MillraceError('E_CONFLICT', 'another check of the vault is running', { data: { check } });
    }
    const check = toHex(systemRandom(16));
    this.#checks.set(check, { started: this.#clock.monotonic(), deep });
    const oldest = this.#checks.keys().next().value;
    if (this.#checks.size > MAX_CHECKS && oldest !== undefined) this.#checks.delete(oldest);
    return { check, fresh: true };
  }

  report(id: string, result: object): void {
    const check = this.#checks.get(id);
    if (check !== undefined) check.result = result;
  }

  /** @throws {MillraceError} E_NOT_FOUND */
  show(id: string): CheckView {
    const check = this.#checks.get(id);
    if (check === undefined) throw new MillraceError('E_NOT_FOUND', `no check ${id}`);
    return check.result === undefined ? { check: id, state: 'running' } : { check: id, state: 'done', ...check.result };
  }
}
