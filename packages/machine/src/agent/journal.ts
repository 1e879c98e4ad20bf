import { type Bytes, MillraceError, Mutex, toHex, toMillraceError } from '@millrace/base';
import { type Halt, MAX_REPORTED_PHOTOS, type MachineReport } from '@millrace/protocol';
import type { OwnerFacts } from './owner-facts.ts';
import type { AgentParts } from './parts.ts';
import type { PrintProgress } from './progress.ts';
import type { RunRecord } from './run-record.ts';

/** Minimum interval between updates of the run record, ms. */
const RECORD_MS = 2_000;

/** The durable part of one print: its record on this machine's disk, and the signed reports to the ledger. */
export class PrintJournal {
  readonly #parts: Pick<AgentParts, 'begun' | 'clock' | 'logger' | 'odometer' | 'report' | 'runs'>;
  readonly #progress: PrintProgress;
  readonly #owner: OwnerFacts;
  /** Called once the machine has begun and the report of that is stored. */
  readonly #began: () => void;
  /** Serialises the writing of records and reports. */
  readonly #writes = new Mutex();
  #record: RunRecord;
  #quarter = 0;
  #isStarted = false;
  /** Why the machine stands still. */
  #halt: Halt | undefined;
  #recordedAt = 0;
  /** Hashes of photos that no report has committed to yet. */
  readonly #photos: Bytes[] = [];

  constructor(
    parts: Pick<AgentParts, 'begun' | 'clock' | 'logger' | 'odometer' | 'report' | 'runs'>,
    record: RunRecord,
    {
      progress,
      owner,
      began,
    }: { readonly progress: PrintProgress; readonly owner: OwnerFacts; readonly began: () => void },
  ) {
    this.#parts = parts;
    this.#record = record;
    this.#progress = progress;
    this.#owner = owner;
    this.#began = began;
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
    await this.#begin(object);
    await this.#write({ object });
  }

  /**
   * A refused object is reported as failed. Otherwise control would wait for this run for ever. If the machine has made
   * the object, the report says so: otherwise a hostile control node could show it as that of a failed object.
   */
  async #begin(object: string): Promise<void> {
    try {
      await this.#parts.begun.take(object, this.#record);
    } catch (error) {
      const { code, data } = toMillraceError(error);
      const facts = { segments: 0, code, ...(data.made === true ? { made: true as const } : {}) };
      await this.#parts.report({ object, run: this.#record.run, started: false }, 'failed', facts);
      throw error;
    }
  }

  /**
   * Call before the first byte reaches the machine. After a crash, the record shows that the machine may have begun.
   */
  async starting(): Promise<void> {
    await this.#parts.odometer.begin();
    await this.#write({ started: true, ...this.#place() });
  }

  /** The machine's run has begun. @param odometer the machine's odometer just before */
  async started(odometer: number): Promise<void> {
    this.#owner.began(odometer);
    await this.#writes.run(() => this.#report('started'));
    this.#isStarted = true;
    this.#began();
    if (this.#halt !== undefined) this.halted(this.#halt);
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
      void this.#parts.odometer.read().catch(failed);
    }
  }

  /** The machine stands still, or goes on. Reported as soon as the cloud can be reached. */
  halted(halt: Halt | undefined): void {
    this.#halt = halt;
    if (!this.#isStarted) return;
    const { logger } = this.#parts;
    const facts = halt === undefined ? { resumed: true as const } : { halt };
    void this.#writes
      .run(() => this.#report('progressed', facts))
      .catch((error: unknown) => logger.error({ err: error }, 'cannot record a pause of the machine'));
  }

  /** A sealed photo was stored. @param last a report follows anyway, and commits to it */
  photographed(hash: Bytes, last: boolean): void {
    this.#photos.push(hash);
    if (last) return;
    const { logger } = this.#parts;
    void this.#writes
      .run(() => this.#report('progressed'))
      .catch((error: unknown) => logger.error({ err: error }, 'cannot report a photo'));
  }

  /** The machine executed everything. @param contentMac MAC of the executed bytes */
  async completed(contentMac: Bytes): Promise<void> {
    await this.#parts.odometer.end();
    const { object, ...run } = this.#record;
    if (object !== undefined) await this.#parts.begun.made(object, run);
    await this.#writes.run(() => this.#report('completed', { contentMac }));
    await this.#parts.runs.clear();
  }

  /** The print failed. @param reason in full, for the owner only @param halt set if the operator has ended it */
  async failed(code: string, reason: string, halt?: Halt): Promise<void> {
    if (this.#record.started) await this.#parts.odometer.end();
    await this.#writes.run(() =>
      this.#report('failed', { code, ...(halt && { halt }), ...this.#owner.earlyLines() }, reason),
    );
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
    more: Pick<MachineReport['facts'], 'contentMac' | 'code' | 'halt' | 'lines' | 'resumed'> = {},
    reason?: string,
  ): Promise<void> {
    const { object, run, started } = this.#record;
    if (object === undefined) throw new MillraceError('E_INTERNAL', 'a report without an object');
    const segments = started ? this.#progress.taken : 0;
    const photos = this.#photos.splice(0, MAX_REPORTED_PHOTOS);
    const facts = { segments, ...more, ...(photos.length > 0 && { photos }), ...this.#owner.seal(reason) };
    await this.#parts.report({ object, run, started }, event, facts);
  }

  #write(change: Partial<RunRecord>): Promise<void> {
    return this.#writes.run(async () => {
      this.#record = { ...this.#record, ...change };
      await this.#parts.runs.write(this.#record);
    });
  }
}
