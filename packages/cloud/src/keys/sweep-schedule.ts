import type { Clock } from '@millrace/base';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from '../node/table.ts';

const schema = z.strictObject({ due: z.number().int() });

/**
 * When the next sweep is due. Written down, so that a keys node that is restarted again and again sweeps all the same.
 * Between starts the wall clock counts, and it may have been moved: nobody waits longer than a period for that.
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

  /** Milliseconds until the next one is due; 0 when it is. */
  get wait(): number {
    return Math.max(0, this.#due - this.#clock.monotonic());
  }

  /** One has begun: the next is due a period after this one was, or at once when that is past. */
  async begun(): Promise<void> {
    this.#due = Math.max(this.#due + this.#periodMs, this.#clock.monotonic());
    await this.#write();
  }

  async #write(): Promise<void> {
    const next = { due: Math.round(this.#clock.now() + this.wait) };
    await this.#table.put('next', next);
  }
}
