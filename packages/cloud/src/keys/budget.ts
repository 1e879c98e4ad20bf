import type { Clock } from '@millrace/base';
import type { BudgetSettings } from '../settings.ts';

/** Cost of one step of a sweep. */
export interface Spent {
  readonly cells: number;
  /** Cells under layers of points. */
  readonly points: number;
  /** Bytes of the cells. */
  readonly bytes: number;
  /** Milliseconds of one core of the segments node. */
  readonly workMs: number;
  /** Bytes of message and answer. */
  readonly wireBytes: number;
}

export type Limit = 'bytesPerSecond' | 'coreShare' | 'moneyPerMonth';

/** Keccak hashes for each cell: its new index, its old one, and its old one again when it is removed. */
const HASHES = 3;
/**
 * Hashes that one core could compute with the fastest engine in the time in which it renews a cell of points (0.65 s).
 */
const POINTS_HASHES = 15_000_000;
const MONTH_MS = 30 * 86_400_000;
/** Target duration of a step, ms, so that a small budget is spent evenly. */
const STEP_MS = 1_000;
const MIN_STEP = 16;

/** Keeps one sweep within its budgets: computes the wait after every step. */
export class Budget {
  readonly #settings: BudgetSettings | undefined;
  readonly #clock: Clock;
  #began: number;
  #bytes = 0;
  #workMs = 0;
  #money = 0;
  #waited: Limit | undefined;

  constructor(settings: BudgetSettings | undefined, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
    this.#began = clock.monotonic();
  }

  /** Starts the account of a new sweep. */
  begin(): void {
    this.#began = this.#clock.monotonic();
    this.#bytes = this.#workMs = this.#money = 0;
    this.#waited = undefined;
  }

  /** Cost of the sweep so far, in the currency of the prices. */
  get money(): number {
    return this.#money;
  }

  /** The budget that last delayed the sweep; undefined if none did. */
  get heldBackBy(): Limit | undefined {
    return this.#waited;
  }

  /** Maximum number of cells in the next step, for cells of `cellBytes` bytes. */
  step(most: number, cellBytes: number): number {
    const { bytesPerSecond } = this.#settings ?? {};
    if (bytesPerSecond === undefined) return most;
    return Math.min(most, Math.max(MIN_STEP, Math.floor((bytesPerSecond * STEP_MS) / 1_000 / cellBytes)));
  }

  /** @returns milliseconds to wait before the next step */
  spend({ cells, points, bytes, workMs, wireBytes }: Spent): number {
    const prices = this.#settings?.prices ?? { hash100MHour: 0.05, gigabyte: 0.087 };
    this.#bytes += bytes;
    this.#workMs += workMs;
    const hashes = cells * HASHES + points * POINTS_HASHES;
    this.#money += (hashes * prices.hash100MHour) / (100e6 * 3_600) + (wireBytes * prices.gigabyte) / 1e9;
    const { bytesPerSecond, coreShare, moneyPerMonth } = this.#settings ?? {};
    const due: [Limit, number][] = [
      ['bytesPerSecond', bytesPerSecond === undefined ? 0 : (this.#bytes / bytesPerSecond) * 1_000],
      ['coreShare', coreShare === undefined ? 0 : this.#workMs / coreShare],
      ['moneyPerMonth', moneyPerMonth === undefined ? 0 : (this.#money / moneyPerMonth) * MONTH_MS],
    ];
    const [limit, longest] = due.reduce((a, b) => (b[1] > a[1] ? b : a));
    const wait = this.#began + longest - this.#clock.monotonic();
    if (wait <= 0) return 0;
    this.#waited = limit;
    return wait;
  }
}
