import type { Clock } from '@millrace/base';
import type { SuiteName } from '@millrace/live-matrix';
import type { MatrixSettings } from './config.ts';

/** What a session's matrix is made of, as far as the agent chooses it. */
export interface Level {
  readonly order: 16 | 24;
  readonly suite: SuiteName;
}

/** What the settings leave open, the dearer first: one level, or two. */
export function levelsOf({ order, suite }: Pick<MatrixSettings, 'order' | 'suite'>): readonly [Level, Level?] {
  const full: Level = { order: order === 'auto' ? 24 : order, suite: suite === 'auto' ? 'keccak256' : suite };
  if (order !== 'auto' && suite !== 'auto') return [full];
  return [full, { order: order === 'auto' ? 16 : order, suite: suite === 'auto' ? 'turboshake128' : suite }];
}

export const sameLevel = (a: Level, b: Level): boolean => a.order === b.order && a.suite === b.suite;

/** An agent at order 24 holds two tables and what builds a third, and needs room for what else runs beside it. */
const WANTED_BYTES = 300e6;
/** With less than this left, the dearer level is given up. */
const MIN_BYTES = 64e6;
/** First and longest wait before the dearer level is tried again, in units of `slowMs`. */
const FIRST_WAIT = 5;
const LONGEST_WAIT = 160;
/** A fall within so many waits of a rise was a rise too early: the next wait is twice as long. */
const HOLD = 4;

export interface AdaptationOptions {
  readonly levels: readonly [Level, Level?];
  /** A table of the dearer level that takes longer is too slow, ms. */
  readonly slowMs: number;
  readonly clock: Clock;
  /** Memory that the system could still give, bytes. */
  freeBytes(): number;
}

/**
 * Which of two levels the next session asks for (docs/adr/0016). It falls when two tables of the dearer one in a row were too
 * slow, one was by far, or memory is short; it rises after a wait when two tables in a row took at most half of that. Between
 * half and the whole nothing changes, and every rise that came too early doubles the wait: so it does not flap.
 */
export class Adaptation {
  readonly #options: AdaptationOptions;
  readonly #full: Level;
  readonly #light: Level | undefined;
  #wanted: Level;
  /** Tables in a row that speak for a change. */
  #inRow = 0;
  #wait: number;
  #trialAt = Number.POSITIVE_INFINITY;
  #risenAt = Number.NEGATIVE_INFINITY;

  constructor(options: AdaptationOptions) {
    const [full, light] = options.levels;
    this.#options = options;
    this.#full = full;
    this.#light = light;
    this.#wanted = full;
    this.#wait = FIRST_WAIT * options.slowMs;
    if (!this.#hasRoom(WANTED_BYTES)) this.#fall();
  }

  get wanted(): Level {
    return this.#wanted;
  }

  /** A lighter level could be had instead of this one. */
  canFall(level: Level): boolean {
    return this.#light !== undefined && sameLevel(level, this.#full);
  }

  /** The dearer level should be tried now, where it is not in use. */
  get trialDue(): boolean {
    return this.#options.clock.monotonic() >= this.#trialAt && this.#hasRoom(WANTED_BYTES);
  }

  /** A table was made, in a session or to see. @param level its own */
  took(level: Level, ms: number): void {
    if (!this.canFall(level)) return;
    if (this.#wanted === this.#full) this.#tookInUse(ms);
    else if (this.#options.clock.monotonic() >= this.#trialAt) this.#tookOnTrial(ms);
  }

  /** A table has taken so long and is not ready. */
  unfinished(level: Level, ms: number): void {
    if (ms > 2 * this.#options.slowMs) this.took(level, ms);
  }

  #tookInUse(ms: number): void {
    const { slowMs } = this.#options;
    this.#inRow = ms > slowMs ? this.#inRow + 1 : 0;
    if (this.#inRow > 1 || ms > 2 * slowMs || !this.#hasRoom(MIN_BYTES)) this.#fall();
  }

  #tookOnTrial(ms: number): void {
    const { slowMs, clock } = this.#options;
    if (2 * ms > slowMs) {
      this.#inRow = 0;
      this.#wait = this.#longer();
      this.#trialAt = clock.monotonic() + this.#wait;
      return;
    }
    this.#inRow++;
    this.#trialAt = clock.monotonic() + slowMs;
    if (this.#inRow > 1 && this.#hasRoom(WANTED_BYTES)) this.#rise();
  }

  #fall(): void {
    if (this.#light === undefined) return;
    const now = this.#options.clock.monotonic();
    this.#wait = now - this.#risenAt < HOLD * this.#wait ? this.#longer() : FIRST_WAIT * this.#options.slowMs;
    this.#wanted = this.#light;
    this.#inRow = 0;
    this.#trialAt = now + this.#wait;
  }

  #rise(): void {
    this.#wanted = this.#full;
    this.#inRow = 0;
    this.#risenAt = this.#options.clock.monotonic();
    this.#trialAt = Number.POSITIVE_INFINITY;
  }

  #longer(): number {
    return Math.min(2 * this.#wait, LONGEST_WAIT * this.#options.slowMs);
  }

  #hasRoom(bytes: number): boolean {
    return this.#full.order === this.#light?.order || this.#options.freeBytes() >= bytes;
  }
}
