import type { Clock } from '@millrace/base';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from '../node/table.ts';

const schema = z.strictObject({ due: z.number().int() });

/**
 * When the next sweep is due. The time is stored, so that a keys node that is restarted often still sweeps. Across
 * restarts, the time is measured by the wall clock. That clock may have been set back, so the wait is at most one
 * period.
 */
export class SweepSchedule {
  readonly #table: Table<z.output<typeof schema>>;
  readonly #clock: Clock;
  readonly #periodMs: number;
  /** On the monotonic clock. */
  #due: number;

  private constructor(table: Table<z.output<typeof schema>>, clock: Clock, periodMs: number, due: number) {
    this.#table = table;
    this.#clock = clock;
    this.#periodMs = periodMs;
    this.#due = due;
  }

  static async open(store: RecordStore, clock: Clock, periodMs: number): Promise<SweepSchedule> {
    const table = new Table(store, 'sweep-due', schema);
    const known = (await table.get('next'))?.due;
    const wait = known === undefined ? periodMs : Math.min(periodMs, Math.max(0, known - clock.now()));
    const schedule = new SweepSchedule(table, clock, periodMs, clock.monotonic() + wait);
    await schedule.#write();
    return schedule;
  }

  /** Milliseconds until the next sweep is due; 0 if it is due. */
  get wait(): number {
    return Math.max(0, this.#due - this.#clock.monotonic());
  }

  /** A sweep has begun. The next one is due one period after this one was due, or now if that time has passed. */
  async begun(): Promise<void> {
    this.#due = Math.max(this.#due + this.#periodMs, this.#clock.monotonic());
    await this.#write();
  }

  async #write(): Promise<void> {
    const next = { due: Math.round(this.#clock.now() + this.wait) };
    await this.#table.put('next', next);
  }
}
