import { Backoff, type Bytes, fromHex, MillraceError, sleep, toMillraceError } from '@millrace/base';
import { evidence, fullReason } from './failure.ts';
import { Feed } from './feed.ts';
import { PrintJournal } from './journal.ts';
import { recordObject } from './object-files.ts';
import { OwnerFacts } from './owner-facts.ts';
import type { AgentParts } from './parts.ts';
import { callHome, type PermittedSession } from './permit.ts';
import { PrintProgress } from './progress.ts';
import type { RunRecord } from './run-record.ts';
import { runSession } from './session.ts';

/** `refused`: control gave no permit. `later`: no decision was made; the same run may be tried again. */
export type PrintOutcome = 'completed' | 'failed' | 'refused' | 'later';

/**
 * Makes one object: permit, sessions until every segment has arrived, reports. Only this class decides that a print has
 * ended. Calls go one way: session → stream → assembly → feed → driver. Counts go to the progress, durable facts to the
 * journal.
 */
export class Print {
  readonly #parts: AgentParts;
  readonly #signal: AbortSignal;
  readonly #progress: PrintProgress;
  readonly #owner: OwnerFacts;
  readonly #journal: PrintJournal;
  readonly #feed: Feed;

  /** @param signal aborts the print when the agent stops */
  constructor(parts: AgentParts, record: RunRecord, signal: AbortSignal) {
    const machineFailed = new AbortController();
    this.#parts = parts;
    // Every wait for the cloud ends when the machine fails.
    this.#signal = AbortSignal.any([signal, machineFailed.signal]);
    this.#progress = new PrintProgress(parts);
    this.#owner = new OwnerFacts(parts);
    this.#journal = new PrintJournal(parts, record, { progress: this.#progress, owner: this.#owner });
    this.#feed = new Feed(parts, { progress: this.#progress, journal: this.#journal });
    this.#feed.done.catch((error) => machineFailed.abort(error));
    this.#signal.addEventListener('abort', () => this.#feed.abort(this.#signal.reason), { once: true });
  }

  async run(): Promise<PrintOutcome> {
    try {
      await this.#journal.open();
      const contentMac = await this.#stream();
      await this.#journal.completed(contentMac);
      await this.#recordObject('completed');
      const { print, object } = this.#journal.record;
      this.#parts.logger.info({ print, object }, 'print completed');
      return 'completed';
    } catch (error) {
      return await this.#fail(toMillraceError(error));
    } finally {
      this.#owner.close();
    }
  }

  /** Runs sessions one after the other until the machine has executed everything. */
  async #stream(): Promise<Bytes> {
    const { clock, config, logger, timing } = this.#parts;
    const backoff = new Backoff(timing.backoff);
    let progressAt = clock.monotonic();
    for (;;) {
      const from = this.#progress.got;
      const left = config.agent.giveUpMs - (clock.monotonic() - progressAt);
      if (left <= 0) throw new MillraceError('E_STARVED', 'the stream did not go on in time');
      const end = await this.#session(from, left);
      if (this.#progress.isComplete) return await this.#feed.done;
      const at = { object: this.#journal.record.object, from: this.#progress.got };
      if (end.kind === 'changed') {
        logger.info({ ...at, reason: end.reason }, 'session ended to begin another with a better matrix');
        progressAt = clock.monotonic();
        backoff.reset();
        continue;
      }
      if (end.kind === 'complete') throw new MillraceError('E_INTERNAL', 'a stream was complete without its segments');
      if (this.#progress.got > from) {
        progressAt = clock.monotonic();
        backoff.reset();
      }
      logger.warn({ ...at, reason: end.reason }, 'stream broken; resuming');
      await sleep(backoff.next(), this.#signal);
    }
  }

  async #session(from: number, giveUpMs: number) {
    const { tables } = this.#parts;
    const { print, run } = this.#journal.record;
    const level = tables.wanted;
    const wanted = { print, run: fromHex(run), from, level, tableMs: tables.ms(level) };
    const permitted = await callHome({ ...this.#parts, giveUpMs }, wanted, this.#signal);
    try {
      await this.#accept(permitted);
    } catch (error) {
      permitted.ephemeral.close();
      throw error;
    }
    this.#progress.sessions++;
    return await runSession({
      parts: this.#parts,
      permitted,
      level,
      from,
      feed: this.#feed,
      progress: this.#progress,
      owner: this.#owner,
      signal: this.#signal,
    });
  }

  async #accept({ permit, licence }: PermittedSession): Promise<void> {
    const { object } = permit;
    const { installation } = this.#parts.config.directory;
    await this.#journal.permitted(object);
    await this.#owner.permitted(licence, { installation, object, run: this.#journal.record.run });
  }

  async #fail(error: MillraceError): Promise<PrintOutcome> {
    const { print, object, started } = this.#journal.record;
    this.#parts.logger.error({ print, object, ...evidence(error) }, started ? 'print failed' : 'print not begun');
    this.#feed.abort(error);
    await this.#feed.done.catch(() => undefined); // the machine has been cancelled
    const stopped = error.code === 'E_STATE' && error.data.stopped === true;
    // The machine has not begun and no node has refused: the same run may begin again.
    if (!started && (stopped || (object === undefined && error.code === 'E_STARVED'))) return 'later';
    if (object === undefined) {
      await this.#journal.dropped();
      return 'refused';
    }
    const told = stopped ? new MillraceError('E_MACHINE', 'the agent was stopped') : error;
    await this.#journal.failed(told.code, fullReason(told));
    await this.#recordObject('failed', told);
    return 'failed';
  }

  /** Writes the operator's files. A failure here does not affect the print. */
  async #recordObject(event: 'completed' | 'failed', error?: MillraceError): Promise<void> {
    const { record } = this.#journal;
    const facts = { record, event, error, progress: this.#progress, disclosed: this.#owner.disclosesPosition };
    try {
      await recordObject(this.#parts, facts);
    } catch (cause) {
      this.#parts.logger.error({ err: cause, object: record.object }, 'cannot write the files of the object');
    }
  }
}
