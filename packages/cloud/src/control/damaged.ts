import { type Gauge, type Logger, type Metrics, MillraceError, sleep, toMillraceError } from '@millrace/base';
import type { Records } from './records.ts';

/** A record that cannot be read or used. */
export interface DamagedRecord {
  readonly table: string;
  readonly id: string;
  readonly code: string;
  readonly reason: string;
}

const MAX_RECORDS = 1_000;

/**
 * Records that control skips because they cannot be used. The status lists them for the administrator. Control keeps
 * serving all other records and tries the damaged ones again at its next start.
 */
export class DamagedRecords {
  readonly #records = new Map<string, DamagedRecord>();
  readonly #logger: Logger;
  readonly #count: Gauge;

  constructor(logger: Logger, metrics: Metrics) {
    this.#logger = logger;
    this.#count = metrics.gauge('millrace_records_damaged', 'records that control skips because they cannot be read');
  }

  readonly add = (table: string, id: string, error: unknown): void => {
    const key = `${table}/${id}`;
    if (this.#records.has(key)) return;
    const coded = toMillraceError(error);
    this.#logger.error({ err: coded, table, id }, 'record skipped: it cannot be used');
    if (this.#records.size < MAX_RECORDS)
      this.#records.set(key, { table, id, code: coded.code, reason: coded.message.slice(0, 300) });
    this.#count.set(this.#records.size);
  };

  list(): DamagedRecord[] {
    return [...this.#records.values()];
  }

  /** Runs `work` for one record. Rethrows temporary errors, such as a full disk, that the record did not cause. */
  async attempt(table: string, id: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      // A store that cannot be used fails for every record. Only E_STORE can mean that this record's bytes are damaged.
      if (error instanceof MillraceError && error.retryable && error.code !== 'E_STORE') throw error;
      this.add(table, id, error);
    }
  }
}

/** Records that are read at a time, and the pause after them, ms. */
const PAGE = 100;
const PAUSE_MS = 200;

/**
 * Reads every record that control works with once, page by page, so that the damaged ones are known: no index lists
 * them. Runs beside the work of the node.
 */
export async function lookForDamaged(records: Records, signal: AbortSignal): Promise<void> {
  for (const name of ['designs', 'licences', 'machines', 'groups', 'cases', 'prints', 'claims'] as const)
    for (let after: Uint8Array | undefined, more = true; more && !signal.aborted; more = after !== undefined) {
      const page = await records[name].page({ limit: PAGE, ...(after && { after }) });
      after = page.next;
      if (after !== undefined) await sleep(PAUSE_MS, signal);
    }
}
