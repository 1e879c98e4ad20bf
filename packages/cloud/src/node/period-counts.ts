import { type LimitedPeriod, quotaError } from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from './table.ts';

const recordSchema = z.strictObject({
  objects: z.number().int().nonnegative(),
  /** What was counted last: the name of an object at a proactive node, a print at control. */
  last: z.string(),
  /** The node that counted it, if several may. */
  by: z.string().optional(),
});
type PeriodRecord = z.output<typeof recordSchema>;

export interface Counting {
  readonly licence: string;
  readonly period: LimitedPeriod;
  /** Name of what is counted. The same name again is counted once if nothing else was counted in between. */
  readonly name: string;
  /**
   * Whether what was counted last has begun. If this process was killed between its count and its begin, the next one
   * takes its place, so that a crash uses up nothing. What another node has counted may be about to begin there.
   */
  begun(last: string): Promise<boolean>;
  /** Number of credited objects of the period: others may be made in their place. Asked only if the quota is used. */
  credited(): Promise<number>;
}

/**
 * Objects in each period of each licence whose subscription limits them. Kept for ever. A node counts for one licence
 * at a time, and lets the object begin before its next count.
 */
export class PeriodCounts {
  readonly #table: Table<PeriodRecord>;
  readonly #by: string | undefined;

  /** @param by id of this node, if several share the store */
  constructor(store: RecordStore, by?: string) {
    this.#table = new Table(store, 'period', recordSchema);
    this.#by = by;
  }

  /** @throws {MillraceError} E_LICENCE_QUOTA */
  async take({ licence, period, name, begun, credited }: Counting): Promise<void> {
    const key = `${licence}/${period.number}`;
    for (;;) {
      const known = await this.#table.get(key);
      if (known?.last === name) return;
      const replaces = known !== undefined && known.by === this.#by && !(await begun(known.last));
      const objects = (known?.objects ?? 0) + (replaces ? 0 : 1);
      if (objects > period.quota && objects > period.quota + (await credited())) throw quotaError(period, licence);
      const next: PeriodRecord = { objects, last: name, ...(this.#by === undefined ? {} : { by: this.#by }) };
      const isKnown = (record: PeriodRecord) => record.objects === known?.objects && record.last === known.last;
      if ((await this.#table.change(key, (now) => (now === undefined || isKnown(now) ? next : now))) === next) return;
    }
  }

  /** Number of objects that were counted in a period. */
  async count(licence: string, period: number): Promise<number> {
    return (await this.#table.get(`${licence}/${period}`))?.objects ?? 0;
  }
}
