import type { Clock } from '@millrace/base';
import type { SuiteName } from '@millrace/live-matrix';
import type { MatrixSettings } from './config.ts';

/** The parameters of a session's matrix that the agent chooses. */
export interface Level {
  readonly order: 16 | 24;
  readonly suite: SuiteName;
}

/** The levels that the settings allow, strongest first: one or two. */
export function levelsOf({ order, suite }: Pick<MatrixSettings, 'order' | 'suite'>): readonly [Level, Level?] {
  const full: Level = { order: order === 'auto' ? 24 : order, suite: suite === 'auto' ? 'keccak256' : suite };
  if (order !== 'auto' && suite !== 'auto') return [full];
  return [full, { order: order === 'auto' ? 16 : order, suite: suite === 'auto' ? 'turboshake128' : suite }];
}

export const sameLevel = (a: Level, b: Level): boolean => a.order === b.order && a.suite === b.suite;

/** Free memory needed for the stronger level: two tables of order 24, building a third, and a reserve. */
const WANTED_BYTES = 300e6;
/** With less free memory than this, the agent switches to the lighter level. */
const MIN_BYTES = 64e6;
/** First and longest wait before the stronger level is tried again, in units of `slowMs`. */
const FIRST_WAIT = 5;
const LONGEST_WAIT = 160;
/** A fall within this many waits after a rise means that the rise came too early. The next wait is then doubled. */
const HOLD = 4;

export interface AdaptationOptions {
  readonly levels: readonly [Level, Level?];
  /** A table of the stronger level that takes longer than this is too slow, ms. */
  readonly slowMs: number;
  readonly clock: Clock;
  /** Memory still available from the system, bytes. */
  freeBytes(): number;
}

/**
 * Chooses which of two levels the next session asks for (docs/adr/0016). The level falls if two consecutive tables of
 * the stronger level took longer than `slowMs`, if one took more than twice that, or if memory is short. It rises after
 * a wait if two consecutive tables took at most half of `slowMs`. Between half of `slowMs` and `slowMs` nothing
 * changes, and each premature rise doubles the wait; both prevent flapping.
 */
export class Adaptation {
  readonly #options: AdaptationOptions;
  readonly #full: Level;
  readonly #light: Level | undefined;
  #wanted: Level;
  /** Number of consecutive tables that call for a change. */
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

  /** Whether a lighter level exists. */
  canFall(level: Level): boolean {
    return this.#light !== undefined && sameLevel(level, this.#full);
  }

  /** Whether the stronger level should be tried; false while it is in use. */
  get trialDue(): boolean {
    return this.#options.clock.monotonic() >= this.#trialAt && this.#hasRoom(WANTED_BYTES);
  }

  /** A table was made, in a session or on trial. @param level level of the table */
  took(level: Level, ms: number): void {
    if (!this.canFall(level)) return;
    if (this.#wanted === this.#full) this.#tookInUse(ms);
    else if (this.#options.clock.monotonic() >= this.#trialAt) this.#tookOnTrial(ms);
  }

  /** A table has been under construction for `ms` and is not ready. */
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
