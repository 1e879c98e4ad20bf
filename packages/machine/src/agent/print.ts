import { type Bytes, fromHex, MillraceError, Serial, sleep, toHex, toMillraceError } from '@millrace/base';
import type { MachineReport, MachineState, StreamParameters } from '@millrace/protocol';
import { type Level, sameLevel } from './adapt.ts';
import { Ahead } from './ahead.ts';
import type { Design } from './design.ts';
import { evidence, fullReason, stateOf } from './facts.ts';
import { Feed } from './feed.ts';
import { saveObject } from './object-files.ts';
import { OwnerPart } from './owner.ts';
import type { AgentParts } from './parts.ts';
import { callHome, type PermittedSession } from './permit.ts';
import type { RunRecord } from './run-record.ts';
import { runSession } from './session.ts';
import { Backoff } from './timing.ts';

/** The run record is brought up to date at most so often, ms. */
const RECORD_MS = 2_000;

/** `refused`: control gave no permit. `later`: nobody decided anything; the same run may be tried again. */
export type PrintOutcome = 'completed' | 'failed' | 'refused' | 'later';

/**
 * Makes one object: permit, sessions until every segment has come, reports. Nothing else in the agent decides that a
 * print has ended.
 */
export class Print {
  readonly #parts: AgentParts;
  readonly #signal: AbortSignal;
  /** Ends what waits for the cloud when the machine fails. */
  readonly #machineFailed = new AbortController();
  readonly #records = new Serial();
  readonly #ahead = new Ahead();
  readonly #owner: OwnerPart;
  #record: RunRecord;
  #feed: Feed | undefined;
  #parameters: StreamParameters | undefined;
  #quarter = 0;
  #recordedAt = 0;
  #hints = 0;
  #sessions = 0;
  #state: MachineState['state'] = 'waiting';
  readonly #wireBefore: number;
  readonly #startedAt: number;

  /** @param signal ends the print because the agent stops */
  constructor(parts: AgentParts, record: RunRecord, signal: AbortSignal) {
    this.#parts = parts;
    this.#record = record;
    this.#owner = new OwnerPart(parts);
    this.#signal = AbortSignal.any([signal, this.#machineFailed.signal]);
    this.#wireBefore = parts.link.wireBytes();
    this.#startedAt = parts.clock.now();
    this.#signal.addEventListener('abort', () => this.#feed?.abort(this.#signal.reason), { once: true });
  }

  async run(): Promise<PrintOutcome> {
    const { logger, runs } = this.#parts;
    const { print } = this.#record;
    try {
      await runs.write(this.#record);
      const contentMac = await this.#stream();
      await this.#complete(contentMac);
      logger.info({ print, object: this.#record.object }, 'completed');
      return 'completed';
    } catch (error) {
      return await this.#fail(toMillraceError(error));
    } finally {
      this.#owner.close();
    }
  }

  /** Sessions, one after the other, until the machine has executed everything. */
  async #stream(): Promise<Bytes> {
    const { clock, config, logger, timing } = this.#parts;
    const backoff = new Backoff(timing.backoffMs);
    let progressAt = clock.monotonic();
    for (;;) {
      const from = this.#feed?.got ?? 0;
      const left = config.agent.giveUpMs - (clock.monotonic() - progressAt);
      if (left <= 0) throw new MillraceError('E_STARVED', 'the stream did not go on in time');
      const end = await this.#session(from, left);
      const feed = this.#feed;
      // All of it is here: the machine needs nobody any more.
      if (feed !== undefined && feed.got === this.#parameters?.segments) return await feed.done;
      if (end.kind === 'changed') {
        logger.info({ object: this.#record.object, reason: end.reason, from: feed?.got ?? 0 }, 'another session');
        progressAt = clock.monotonic();
        backoff.reset();
        continue;
      }
      if (end.kind === 'complete') throw new MillraceError('E_INTERNAL', 'a stream was complete without its segments');
      if ((feed?.got ?? 0) > from) {
        progressAt = clock.monotonic();
        backoff.reset();
      }
      logger.warn({ object: this.#record.object, reason: end.reason, from: feed?.got ?? 0 }, 'stream broken; resuming');
      await sleep(backoff.next(), this.#signal);
    }
  }

  async #session(from: number, giveUpMs: number) {
    const { tables } = this.#parts;
    const { print, run } = this.#record;
    const level = tables.wanted;
    const wanted = { print, run: fromHex(run), from, level, tableMs: tables.ms(level) };
    const permitted = await callHome({ ...this.#parts, giveUpMs }, wanted, this.#signal);
    const { object } = permitted.permit;
    if (this.#record.object !== undefined && this.#record.object !== object) {
      permitted.ephemeral.close();
      throw new MillraceError('E_PERMIT', 'the permit is for another object than the one begun');
    }
    if (this.#record.object === undefined) await this.#begin(object, permitted);
    const { installation } = this.#parts.config.directory;
    try {
      await this.#owner.permitted(permitted.licence, { installation, object, run });
    } catch (error) {
      permitted.ephemeral.close();
      throw error;
    }
    this.#sessions++;
    return await runSession({
      parts: this.#parts,
      permitted,
      level,
      from,
      feedFor: (parameters, design, secret) => this.#feedFor(parameters, design, secret),
      state: () => this.#machineState(),
      ownerState: () => this.#owner.state(),
      change: () => this.#change(level),
      onHints: (hints) => {
        this.#hints += hints;
      },
      signal: this.#signal,
    });
  }

  /** From here on the object belongs to this run, whatever becomes of it. */
  async #begin(object: string, { ephemeral }: PermittedSession): Promise<void> {
    try {
      await this.#parts.begun.take(object, this.#record);
    } catch (error) {
      ephemeral.close();
      throw error;
    }
    await this.#writeRecord({ object });
  }

  #feedFor(parameters: StreamParameters, design: Design, secret: Uint8Array): Feed {
    if (this.#feed !== undefined) {
      if (this.#feed.design !== design.designId)
        throw new MillraceError('E_PERMIT', 'the stream offered to go on is of another design');
      return this.#feed;
    }
    const feed = new Feed({
      driver: this.#parts.driver,
      parameters,
      design,
      secret,
      points: this.#parts.points,
      secrets: this.#parts.secrets,
      onStart: () => this.#start(),
      onDrain: () => {
        this.#state = 'finishing';
      },
    });
    feed.onTaken(() => this.#onTaken());
    feed.done.then(
      () => {
        this.#state = 'done';
      },
      (error) => this.#machineFailed.abort(error),
    );
    this.#parameters = parameters;
    this.#feed = feed;
    return feed;
  }

  /** Before the first byte reaches the machine: the world can know that it begins. */
  async #start(): Promise<void> {
    const { driver } = this.#parts;
    const { odometer } = driver.telemetry();
    await this.#writeRecord({ started: true, ...this.#place() });
    await driver.begin();
    this.#owner.began(odometer);
    this.#state = 'running';
    await this.#report('started');
  }

  /**
   * Why the session at `level` should give way to one at another: the machine goes on with what it has meanwhile, so it is
   * not done while that is little, unless it is nothing.
   */
  #change(level: Level): string | undefined {
    const { tables, timing, logger } = this.#parts;
    const [feed, parameters] = [this.#feed, this.#parameters];
    if (feed === undefined || parameters === undefined || feed.got === parameters.segments) return undefined;
    if (
      feed.got > feed.taken &&
      this.#ahead.lasts(feed.got - feed.taken) < timing.changeMs + 2 * tables.ms(tables.wanted)
    )
      return undefined;
    void tables.review(this.#signal).catch((error) => logger.warn({ err: error }, 'a table to see failed'));
    if (sameLevel(level, tables.wanted)) return undefined;
    return `order ${tables.wanted.order}, ${tables.wanted.suite}`;
  }

  #onTaken(): void {
    const [feed, parameters] = [this.#feed, this.#parameters];
    if (feed === undefined || parameters === undefined) return;
    const quarter = Math.floor((4 * feed.taken) / parameters.segments);
    const now = this.#parts.clock.monotonic();
    this.#ahead.taken(now);
    const failed = (error: unknown) => this.#parts.logger.error({ err: error }, 'progress could not be kept');
    if (quarter > this.#quarter && quarter < 4) {
      this.#quarter = quarter;
      void this.#records.run(() => this.#report('progressed')).catch(failed);
    }
    if (now - this.#recordedAt >= RECORD_MS) {
      this.#recordedAt = now;
      void this.#writeRecord(this.#place()).catch(failed);
    }
  }

  async #complete(contentMac: Bytes): Promise<void> {
    await this.#records.run(() => this.#report('completed', { contentMac }));
    await this.#parts.runs.clear();
    await this.#save('completed');
  }

  async #fail(error: MillraceError): Promise<PrintOutcome> {
    const { logger, runs } = this.#parts;
    const { print, object, started } = this.#record;
    logger.error({ print, object, ...evidence(error) }, started ? 'failed' : 'not begun');
    this.#feed?.abort(error);
    await this.#feed?.done.catch(() => undefined); // the machine has been told to cancel
    const stopped = error.code === 'E_STATE' && error.data.stopped === true;
    // Nothing has moved and nobody has refused: the same run may begin again.
    if (!started && (stopped || (object === undefined && error.code === 'E_STARVED'))) return 'later';
    if (object === undefined) {
      await runs.clear();
      return 'refused';
    }
    const told = stopped ? new MillraceError('E_MACHINE', 'the agent was stopped') : error;
    await this.#records.run(() => this.#report('failed', { code: told.code }, fullReason(told)));
    await runs.clear();
    await this.#save('failed', told);
    return 'failed';
  }

  /** As it is kept on disk: an operator who reads it learns no more than the cloud does. */
  #place(): Pick<RunRecord, 'segments' | 'sealed'> {
    const part = this.#owner.seal();
    return { segments: this.#feed?.taken ?? 0, ...(part === undefined ? {} : { sealed: toHex(part.sealed) }) };
  }

  async #report(
    event: MachineReport['event'],
    more: Pick<MachineReport['facts'], 'contentMac' | 'code'> = {},
    reason?: string,
  ): Promise<void> {
    const { object, run, started } = this.#record;
    if (object === undefined) throw new MillraceError('E_INTERNAL', 'a report without an object');
    const segments = started ? (this.#feed?.taken ?? 0) : 0;
    await this.#parts.report({ object, run }, event, { segments, ...more, ...this.#owner.seal(reason) });
  }

  #writeRecord(change: Partial<RunRecord>): Promise<void> {
    return this.#records.run(async () => {
      this.#record = { ...this.#record, ...change };
      await this.#parts.runs.write(this.#record);
    });
  }

  #machineState(): MachineState {
    const { got = 0, taken = 0 } = this.#feed ?? {};
    return stateOf(this.#parts.driver, {
      state: this.#state,
      bufferMs: got === taken ? 0 : this.#ahead.lasts(got - taken) || undefined,
      wire: this.#wire(),
      hints: this.#hints,
    });
  }

  #wire(): number {
    return this.#parts.link.wireBytes() - this.#wireBefore;
  }

  /** What stays beside the machine for its operator; a failure here takes nothing back. */
  async #save(event: 'completed' | 'failed', error?: MillraceError): Promise<void> {
    const { config, driver, clock, logger } = this.#parts;
    const { object, print, run } = this.#record;
    if (object === undefined) return;
    const summary = driver.summary();
    const wire = this.#wire();
    try {
      const path = this.#owner.disclosesPosition
        ? { ...summary, toolPath: event === 'completed' ? driver.toolPath() : undefined }
        : undefined;
      await saveObject(config.data, path, {
        object,
        print,
        run,
        event,
        started: new Date(this.#startedAt).toISOString(),
        ended: new Date(clock.now()).toISOString(),
        ...(error === undefined ? {} : evidence(error)),
        segments: this.#feed?.taken ?? 0,
        bytes: summary.executedBytes,
        sha256: this.#record.started ? toHex(summary.sha256) : undefined,
        machineSeconds: summary.machineSeconds,
        starvedSeconds: summary.starvedSeconds,
        sessions: this.#sessions,
        hints: this.#hints,
        wire,
        overhead: summary.executedBytes === 0 ? undefined : wire / summary.executedBytes,
      });
    } catch (cause) {
      logger.error({ err: cause, object }, 'the object’s files could not be written');
    }
  }
}
