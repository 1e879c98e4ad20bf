import type { Clock } from '@millrace/base';
import { type PrintRecord, placeOf, type Records } from './records.ts';
import type { RehearsalRecord } from './rehearsal-records.ts';
import type { SettingsRecord } from './settings-records.ts';
import type { VisitRecord } from './visit-records.ts';

/** What a machine does next. */
export type Work = PrintRecord | VisitRecord | ShortWork<RehearsalRecord> | ShortWork<SettingsRecord>;
type ShortWork<T> = T & { readonly print?: undefined };

/** What a driver of job packages asks for. */
export interface Only {
  readonly package?: string | undefined;
  readonly rehearsals?: true | undefined;
}

interface Source {
  readonly records: Records;
}

/** Queued prints by machine and licence. Machines poll with `next`, which returns a print as soon as one is queued. */
export class PrintQueue {
  /** The poll of each machine: a second poll ends the first. */
  readonly #asking = new Map<string, AbortController>();
  readonly #waiting = new Map<string, () => void>();
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Ends the wait of the machine's poll. */
  add({ machine }: Pick<PrintRecord, 'machine'>): void {
    this.#waiting.get(machine)?.();
  }

  /** Queued prints of a machine or a licence, in the order of their turns. */
  async waiting({ records }: Source, by: 'machine' | 'licence', id: string): Promise<PrintRecord[]> {
    const waiting: PrintRecord[] = [];
    for await (const [, print] of records.prints.list({ index: 'queued', group: `${by}/${id}` })) waiting.push(print);
    return waiting;
  }

  /**
   * The first work queued for the machine that has not expired: settings and rehearsals, which take no time, before any
   * print or visit. Undefined after `waitMs`, or when the signal aborts.
   * @param only prints of the job package of this licence, or rehearsals; by default all work but that of packages
   */
  async next(
    context: Source,
    machine: string,
    waitMs: number,
    signal: AbortSignal,
    { package: licence, rehearsals }: Only = {},
  ): Promise<Work | undefined> {
    const deadline = this.#clock.monotonic() + waitMs;
    this.#asking.get(machine)?.abort();
    const asking = new AbortController();
    this.#asking.set(machine, asking);
    const ended = AbortSignal.any([signal, asking.signal]);
    try {
      for (;;) {
        const woken = this.#wait(machine, deadline - this.#clock.monotonic(), ended);
        const work =
          rehearsals === true
            ? await this.#firstRehearsal(context, machine)
            : licence === undefined
              ? await this.#any(context, machine)
              : await this.#first(context, machine, licence);
        if (work !== undefined || ended.aborted || this.#clock.monotonic() >= deadline) return work;
        await woken;
      }
    } finally {
      asking.abort(); // also clears its timer
      if (this.#asking.get(machine) === asking) this.#asking.delete(machine);
    }
  }

  async #any(context: Source, machine: string): Promise<Work | undefined> {
    const print = await this.#first(context, machine, undefined);
    const visit = await this.#firstVisit(context, machine);
    return (await this.#short(context, machine)) ?? earlier(print, visit);
  }

  async #first({ records }: Source, machine: string, licence: string | undefined): Promise<PrintRecord | undefined> {
    for await (const [, print] of records.prints.list({ index: 'queued', group: `machine/${machine}` })) {
      const wanted = print.packaged === true ? print.licence === licence : licence === undefined;
      if (wanted && (print.startBy >= this.#clock.now() || print.number !== undefined)) return print;
    }
    return undefined;
  }

  async #firstVisit({ records }: Source, machine: string): Promise<VisitRecord | undefined> {
    for await (const [, visit] of records.visits.list({ index: 'queued', group: machine }))
      if (visit.startBy >= this.#clock.now()) return visit;
    return undefined;
  }

  async #short(
    context: Source,
    machine: string,
  ): Promise<ShortWork<SettingsRecord> | ShortWork<RehearsalRecord> | undefined> {
    return (await this.#settings(context, machine)) ?? (await this.#firstRehearsal(context, machine));
  }

  async #settings({ records }: Source, machine: string): Promise<ShortWork<SettingsRecord> | undefined> {
    const settings = await records.settings.get(machine);
    return settings?.state === 'pending' ? settings : undefined;
  }

  async #firstRehearsal({ records }: Source, machine: string): Promise<RehearsalRecord | undefined> {
    for await (const [, rehearsal] of records.rehearsals.list({ index: 'queued', group: machine }))
      if (rehearsal.startBy >= this.#clock.now()) return rehearsal;
    return undefined;
  }

  #wait(machine: string, timeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        if (this.#waiting.get(machine) === done) this.#waiting.delete(machine);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#waiting.set(machine, done);
      const timer = setTimeout(done, Math.max(0, timeoutMs));
      signal.addEventListener('abort', done, { once: true });
    });
  }
}

function earlier(
  print: PrintRecord | undefined,
  visit: VisitRecord | undefined,
): PrintRecord | VisitRecord | undefined {
  if (print === undefined || visit === undefined) return print ?? visit;
  return placeOf(visit) < placeOf(print) ? visit : print;
}
