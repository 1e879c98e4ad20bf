import { join } from 'node:path';
import { Backoff, type Bytes, fromHex, MillraceError, sleep, toMillraceError } from '@millrace/base';
import type { Halt } from '@millrace/protocol';
import { type PhotoTerms, PrintPhotos } from '../camera/photos.ts';
import type { Pause, Telemetry } from '../drivers/contract.ts';
import { evidence, fullReason } from './failure.ts';
import { Feed } from './feed.ts';
import { PrintJournal } from './journal.ts';
import { recordObject } from './object-files.ts';
import { OwnerFacts } from './owner-facts.ts';
import type { OpenPackage } from './packages/check-package.ts';
import { feedPackage } from './packages/package-contents.ts';
import type { AgentParts } from './parts.ts';
import { Patience } from './patience.ts';
import { callHome, type PermittedSession, type Wanted } from './permit.ts';
import { PrintProgress } from './progress.ts';
import { RemoteCommands } from './remote-commands.ts';
import type { RunRecord } from './run-record.ts';
import { runSession } from './session.ts';

/** A request for an object of a job package names a matrix too, which is not used. */
const PACKAGE_LEVEL = { order: 16, suite: 'turboshake128' } as const;

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
  readonly #package: OpenPackage | undefined;
  readonly #progress: PrintProgress;
  readonly #owner: OwnerFacts;
  readonly #journal: PrintJournal;
  readonly #feed: Feed;
  readonly #ending = new AbortController();
  #halt: Halt | undefined;
  #isPaused = false;
  #pause: Pause | undefined;
  /** Only if a camera watches the machine, and once it has begun. */
  #photos: PrintPhotos | undefined;
  #terms: PhotoTerms | undefined;
  #commands: RemoteCommands | undefined;

  /**
   * @param signal aborts the print when the agent stops
   * @param source the job package from which the object is made; by default it is streamed
   */
  constructor(parts: AgentParts, record: RunRecord, signal: AbortSignal, source?: OpenPackage) {
    this.#parts = parts;
    this.#package = source;
    // Every wait for the cloud ends when the machine fails, or the operator ends the print.
    this.#signal = AbortSignal.any([signal, this.#ending.signal]);
    this.#progress = new PrintProgress(parts);
    this.#owner = new OwnerFacts(parts);
    this.#journal = new PrintJournal(parts, record, {
      progress: this.#progress,
      owner: this.#owner,
      began: () => this.#watchByCamera(),
    });
    this.#feed = new Feed(parts, { progress: this.#progress, journal: this.#journal });
    this.#feed.done.catch((error) => this.#ending.abort(error));
    this.#signal.addEventListener('abort', () => this.#feed.abort(this.#signal.reason), { once: true });
  }

  async run(): Promise<PrintOutcome> {
    const { driver, operator } = this.#parts;
    const ended = operator.begins(this);
    const unwatch = driver.onTelemetry((telemetry) => this.#watch(telemetry));
    try {
      await this.#journal.open();
      this.#parts.activity.printing(() => this.#journal.record, this.#progress);
      const contentMac = this.#package === undefined ? await this.#stream() : await this.#fromPackage(this.#package);
      await this.#photos?.last('end');
      await this.#journal.completed(contentMac);
      await this.#recordObject('completed');
      const { print, object } = this.#journal.record;
      this.#parts.logger.info({ print, object }, 'print completed');
      this.#parts.activity.ended();
      return 'completed';
    } catch (error) {
      const known = toMillraceError(error);
      return await this.#fail(known).finally(() => this.#parts.activity.ended(known));
    } finally {
      this.#commands?.close();
      this.#owner.close();
      unwatch();
      ended();
    }
  }

  /** The operator ends the print. @throws {MillraceError} E_STATE while it has no permit */
  cancel(halt: Halt): void {
    if (this.#journal.record.object === undefined)
      throw new MillraceError('E_STATE', 'the print has not begun: pause the machine, and it begins none');
    this.#halt = halt;
    this.#ending.abort(new MillraceError('E_STOPPED', `the ${halt.actor} ended the print: ${halt.cause}`));
  }

  /** Reports pauses, whoever caused them. */
  #watch({ state, pause }: Telemetry): void {
    const isPaused = state === 'paused';
    if ((isPaused === this.#isPaused && pause === this.#pause) || !this.#journal.record.started) return;
    this.#isPaused = isPaused;
    this.#pause = pause;
    if (isPaused) this.#journal.halted(pause);
    else if (state === 'running') this.#journal.halted(undefined);
  }

  /** Runs sessions one after the other until the machine has executed everything. */
  async #stream(): Promise<Bytes> {
    const { logger, timing } = this.#parts;
    const backoff = new Backoff(timing.backoff);
    const patience = new Patience(this.#parts, this.#progress);
    for (;;) {
      const from = this.#progress.got;
      if (patience.leftMs <= 0) throw new MillraceError('E_STARVED', 'the stream did not go on in time');
      const end = await this.#session(from, patience);
      if (this.#progress.isComplete) return await this.#feed.done;
      const at = { object: this.#journal.record.object, from: this.#progress.got };
      if (this.#progress.got > from) {
        patience.renew();
        backoff.reset();
      }
      if (end.kind === 'changed') {
        logger.info({ ...at, reason: end.reason }, 'session ended to begin another with a better matrix');
        patience.renew();
        continue;
      }
      if (end.kind === 'complete') throw new MillraceError('E_INTERNAL', 'a stream was complete without its segments');
      logger.warn({ ...at, reason: end.reason }, 'stream broken; resuming');
      await sleep(backoff.next(), this.#signal);
    }
  }

  /**
   * Makes the object from its job package. The cloud is needed until both proactive nodes have released their shares;
   * they do that again for the same run, until the machine begins.
   */
  async #fromPackage(source: OpenPackage): Promise<Bytes> {
    const { inbox, link, logger, timing } = this.#parts;
    const backoff = new Backoff(timing.backoff);
    const patience = new Patience(this.#parts, this.#progress);
    for (;;) {
      if (patience.leftMs <= 0)
        throw new MillraceError('E_STARVED', 'the cloud did not release its shares of the package in time');
      const permitted = await this.#permitted(0, { level: PACKAGE_LEVEL, tableMs: 0 }, patience);
      try {
        const releases = await inbox.releases.take(permitted.permitId, timing.offerMs, this.#signal);
        const [feed, progress, signal] = [this.#feed, this.#progress, this.#signal];
        await feedPackage(this.#parts, { ...source, permitted, releases }, { feed, progress, signal });
        return await feed.done;
      } catch (error) {
        if (toMillraceError(error).code !== 'E_TIMEOUT') throw error;
        link.leave('no shares of the package came over it');
        logger.warn({ err: error, object: permitted.permit.object }, 'no shares of the package; calling home again');
      } finally {
        permitted.ephemeral.close();
      }
      await sleep(backoff.next(), this.#signal);
    }
  }

  async #session(from: number, patience: Patience) {
    const { tables } = this.#parts;
    const level = tables.wanted;
    const permitted = await this.#permitted(from, { level, tableMs: tables.ms(level) }, patience);
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

  async #permitted(from: number, asked: Pick<Wanted, 'level' | 'tableMs'>, patience: Patience) {
    const { print, run } = this.#journal.record;
    const wanted = { print, run: fromHex(run), from, ...asked };
    const permitted = await callHome({ ...this.#parts, patience }, wanted, this.#signal);
    try {
      await this.#accept(permitted);
    } catch (error) {
      permitted.ephemeral.close();
      throw error;
    }
    this.#progress.sessions++;
    return permitted;
  }

  async #accept({ permit, licence, owner }: PermittedSession): Promise<void> {
    const { object } = permit;
    if ((licence.package === undefined) !== (this.#package === undefined))
      throw new MillraceError('E_PACKAGE', 'objects of this licence are made only from its job package');
    const { installation } = this.#parts.config.directory;
    await this.#journal.permitted(object);
    const { run } = this.#journal.record;
    await this.#owner.permitted(licence, { installation, object, run });
    this.#terms = { key: licence.telemetryKey, installation, object, run: fromHex(run) };
    const { commands, operator } = this.#parts;
    if (commands === undefined || this.#commands !== undefined) return;
    const of = { print: this.#journal.record.print, holder: licence.holder, owner };
    this.#commands = new RemoteCommands(this.#parts, commands, of, (command, cause, by) =>
      operator.commandFromElsewhere(this, { command, cause }, by),
    );
  }

  /** The machine has begun. */
  #watchByCamera(): void {
    const { config, clock, logger } = this.#parts;
    const { camera, data } = config;
    if (camera === undefined || this.#terms === undefined || this.#photos !== undefined) return;
    const folder = join(data, 'photos');
    this.#photos = new PrintPhotos({ camera, folder, clock, logger }, this.#terms, (hash, moment) =>
      this.#journal.photographed(hash, moment === 'end' || moment === 'failure'),
    );
    this.#photos.begin();
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
    await this.#photos?.last('failure');
    await this.#journal.failed(told.code, fullReason(told), this.#halt);
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
