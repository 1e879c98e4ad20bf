import { type Bytes, MillraceError, Mutex, toHex } from '@millrace/base';
import type { MachineReport } from '@millrace/protocol';
import type { OwnerFacts } from './owner-facts.ts';
import type { AgentParts } from './parts.ts';
import type { PrintProgress } from './progress.ts';
import type { RunRecord } from './run-record.ts';

/** Minimum interval between updates of the run record, ms. */
const RECORD_MS = 2_000;

/** The durable part of one print: its record on this machine's disk, and the signed reports to the ledger. */
export class PrintJournal {
  readonly #parts: Pick<AgentParts, 'begun' | 'clock' | 'logger' | 'report' | 'runs'>;
  readonly #progress: PrintProgress;
  readonly #owner: OwnerFacts;
  /** Serialises the writing of records and reports. */
  readonly #writes = new Mutex();
  #record: RunRecord;
  #quarter = 0;
  #recordedAt = 0;

  constructor(
    parts: Pick<AgentParts, 'begun' | 'clock' | 'logger' | 'report' | 'runs'>,
    record: RunRecord,
    { progress, owner }: { readonly progress: PrintProgress; readonly owner: OwnerFacts },
  ) {
    this.#parts = parts;
    this.#record = record;
    this.#progress = progress;
    this.#owner = owner;
  }

  get record(): RunRecord {
    return this.#record;
  }

  /** Writes the record of a run that begins or continues. */
  open(): Promise<void> {
    return this.#parts.runs.write(this.#record);
  }

  /**
   * A permit arrived: from now on the object belongs to this run, whatever its outcome.
   * @throws {MillraceError} E_PERMIT if the run has another object; E_REPLAY if another run has begun this one
   */
  async permitted(object: string): Promise<void> {
    if (this.#record.object === object) return;
    if (this.#record.object !== undefined)
      throw new MillraceError('E_PERMIT', 'the permit is for another object than the one that was begun');
    await this.#parts.begun.take(object, this.#record);
    await this.#write({ object });
  }

  /**
   * Call before the first byte reaches the machine. After a crash, the record shows that the machine may have begun.
   */
  starting(): Promise<void> {
    return this.#write({ started: true, ...this.#place() });
  }

  /** The machine's run has begun. @param odometer the machine's odometer just before */
  async started(odometer: number): Promise<void> {
    this.#owner.began(odometer);
    await this.#report('started');
  }

  /** The machine took another segment. A report is sent for every quarter of the design. */
  took(): void {
    const { clock, logger } = this.#parts;
    const { taken, segments = taken } = this.#progress;
    const quarter = Math.floor((4 * taken) / segments);
    const now = clock.monotonic();
    const failed = (error: unknown) => logger.error({ err: error }, 'cannot record the progress of the print');
    if (quarter > this.#quarter && quarter < 4) {
      this.#quarter = quarter;
      void this.#writes.run(() => this.#report('progressed')).catch(failed);
    }
    if (now - this.#recordedAt >= RECORD_MS) {
      this.#recordedAt = now;
      void this.#write(this.#place()).catch(failed);
    }
  }

  /** The machine executed everything. @param contentMac MAC of the executed bytes */
  async completed(contentMac: Bytes): Promise<void> {
    await this.#writes.run(() => this.#report('completed', { contentMac }));
    await this.#parts.runs.clear();
  }

  /** The print failed. @param reason in full, for the owner only */
  async failed(code: string, reason: string): Promise<void> {
    await this.#writes.run(() => this.#report('failed', { code }, reason));
    await this.#parts.runs.clear();
  }

  /** Deletes the record of a run that has no object. */
  async dropped(): Promise<void> {
    await this.#parts.runs.clear();
  }

  /** The machine's position. It is sealed on disk too: an operator who reads it learns no more than the cloud does. */
  #place(): Pick<RunRecord, 'segments' | 'sealed'> {
    const part = this.#owner.seal();
    return { segments: this.#progress.taken, ...(part === undefined ? {} : { sealed: toHex(part.sealed) }) };
  }

  async #report(
    event: MachineReport['event'],
    more: Pick<MachineReport['facts'], 'contentMac' | 'code'> = {},
    reason?: string,
  ): Promise<void> {
    const { object, run, started } = this.#record;
    if (object === undefined) throw new MillraceError('E_INTERNAL', 'a report without an object');
    const segments = started ? this.#progress.taken : 0;
    await this.#parts.report({ object, run }, event, { segments, ...more, ...this.#owner.seal(reason) });
  }

  #write(change: Partial<RunRecord>): Promise<void> {
    return this.#writes.run(async () => {
      this.#record = { ...this.#record, ...change };
      await this.#parts.runs.write(this.#record);
    });
  }
}
