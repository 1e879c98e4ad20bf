import type { ControlClient } from '@millrace/api';
import {
  type Bytes,
  type Clock,
  type Counter,
  type Gauge,
  type Logger,
  type Metrics,
  MillraceError,
  type Span,
  type Tracer,
  toBase64,
  toHex,
  toMillraceError,
  wipe,
} from '@millrace/base';
import type { P256Key } from '@millrace/identity';
import { createEngine } from '@millrace/live-matrix';
import {
  type Directory,
  encodeControl,
  encodeStream,
  type LicensedPackage,
  type LinkControl,
  licenceOf,
  type MachineState,
  type MatrixInUse,
  type MessageOf,
  type Opening,
  type OwnerLookup,
  type Telemetry,
  type VerifiedOpening,
  verifyOpening,
} from '@millrace/protocol';
import type { CellStore } from '@millrace/vault';
import type { DistributionLink, DistributionLinks } from '../node/distribution-links.ts';
import type { MailClient } from '../node/mail-client.ts';
import { creditedError } from '../streaming/credits.ts';
import { takeGroupMail } from '../streaming/group-mail.ts';
import { Guards } from '../streaming/guards.ts';
import type { ObjectRepository } from '../streaming/objects.ts';
import { PaceGuard, windowFor } from '../streaming/pace.ts';
import { openOwnShare, packageBinding, releaseShare } from '../streaming/package-release.ts';
import { reportRefusedOpening } from '../streaming/refused-opening.ts';
import { type GoOn, NewestSession, NO_LINK, sendWhenConnected } from '../streaming/send-when-connected.ts';
import { reportFailure } from '../streaming/stream-failure.ts';
import type { DesignRepository } from './designs.ts';
import { SegmentsStream } from './stream.ts';

/** Maximum number of openings that wait for their session from the keys node. */
const MAX_WAITING = 1_000;
const TICK_MS = 100;
const PROGRESS_MS = 250;

interface Progress {
  readonly acked: number;
  readonly revision: number;
  readonly matrix: MatrixInUse;
  readonly machine: MachineState | undefined;
  /** Telemetry that the machine seals to the owner; passed on unchanged. */
  readonly owner: { readonly session: string; readonly sealed: string } | undefined;
}

/** A permit that waits for its session. */
interface OpenedPermit {
  readonly verified: VerifiedOpening;
  /** To the distribution node to which the machine is connected. */
  readonly link: DistributionLink;
}

interface RunningStream {
  readonly stream: SegmentsStream;
  readonly permitId: string;
  /** To the distribution node of the machine. */
  readonly link: DistributionLink;
  readonly span: Span;
}

export interface SegmentsStreamsModules {
  readonly directory: Directory;
  /** This node's static key. Owners seal shares of job packages to it. */
  readonly identity: P256Key;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly designs: DesignRepository;
  readonly objects: ObjectRepository;
  readonly cells: CellStore;
  readonly mail: MailClient;
  readonly control: Pick<ControlClient, 'nodes'>;
  readonly links: Pick<DistributionLinks, 'to'>;
  readonly metrics: Metrics;
  readonly tracer: Tracer;
}

/** All streams of the segments node. */
export class SegmentsStreams {
  readonly #modules: SegmentsStreamsModules;
  readonly #openings = new Map<string, OpenedPermit>();
  readonly #newest = new NewestSession();
  readonly #streams = new Map<string, RunningStream>();
  readonly #guards: Guards;
  /** Progress that has not been reported to control yet. */
  readonly #progress = new Map<string, Progress>();
  readonly #engine = createEngine();
  readonly #running: Gauge;
  readonly #revisions: Counter;
  readonly #timer: NodeJS.Timeout;

  constructor(modules: SegmentsStreamsModules) {
    this.#modules = modules;
    this.#running = modules.metrics.gauge('millrace_streams', 'streams to machines');
    this.#revisions = modules.metrics.counter('millrace_revisions_total', 'revisions of all streams');
    this.#guards = new Guards(modules.clock);
    this.#timer = setInterval(() => {
      for (const { stream } of this.#streams.values()) stream.tick();
    }, TICK_MS);
  }

  /**
   * Handles a machine's permit that control announces. This node verifies everything again.
   * @param distribution id of the node to which the machine is connected; by default the first one
   * @param goOn takes the wait for a link that is down
   */
  async open(opening: Opening, distribution?: string, goOn: GoOn = (work) => work): Promise<void> {
    try {
      await this.#open(opening, this.#modules.links.to(distribution), goOn);
    } catch (error) {
      await reportRefusedOpening(this.#modules.mail, { opening, by: 'segments', error });
      throw error;
    }
  }

  async #open(opening: Opening, link: DistributionLink, goOn: GoOn): Promise<void> {
    const { directory, clock, designs, objects } = this.#modules;
    const verified = await verifyOpening(opening, {
      directory,
      now: clock.now(),
      designOf: (design) => designs.authorityOf(design),
      begun: (object) => objects.begun(object),
      credits: (licence) => objects.credits(licence),
    });
    const { object } = verified.permit;
    const permitId = toHex(verified.permit.id);
    const { package: packaged } = verified.licence;
    if (packaged !== undefined) return this.#releaseShare(verified, permitId, packaged, link);
    await objects.reach(object, this.#guards.acked(object));
    if (!(await objects.use(verified, permitId))) return;
    this.#openings.set(permitId, { verified, link });
    const oldest = this.#openings.keys().next().value;
    if (this.#openings.size > MAX_WAITING && oldest !== undefined) this.#openings.delete(oldest);
    // Sent now instead of with the session. Otherwise the keys node's offer would wait until that node's mail arrives
    // here.
    await goOn(this.#nameMachine(link, { type: 'admit', permitId, machine: verified.link }).then(() => undefined));
  }

  /** Counts an object that is made from a job package, and releases this node's share of the package's key. */
  async #releaseShare(
    verified: VerifiedOpening,
    permitId: string,
    packaged: LicensedPackage,
    link: DistributionLink,
  ): Promise<void> {
    const { directory, identity, objects } = this.#modules;
    // First: an object whose package cannot be opened is not counted here.
    const share = await openOwnShare(identity, packageBinding(directory, verified), packaged);
    try {
      if (await objects.use(verified, permitId))
        await releaseShare({ ...this.#modules, link }, 'segments', verified, share);
    } finally {
      wipe(share);
    }
  }

  /**
   * Starts the session that the keys node announces for a verified opening.
   * @param goOn takes the start, if it waits for a link that is down
   */
  async begin(message: MessageOf<'stream.session'>, goOn: GoOn = (work) => work): Promise<void> {
    const opened = this.#openings.get(message.permitId);
    if (opened === undefined)
      throw new MillraceError('E_PERMIT', 'the session has no opening that this node has verified');
    const { connected } = opened.link;
    const begun = this.#begin(message, opened);
    return connected ? begun : goOn(begun);
  }

  async #begin(message: MessageOf<'stream.session'>, { verified: opening, link }: OpenedPermit): Promise<void> {
    const { clock, logger, designs, objects } = this.#modules;
    const { parameters, session } = message;
    if (opening.permit.object !== parameters.object || opening.permit.design !== parameters.design) {
      throw new MillraceError('E_PERMIT', 'the session does not match the permit');
    }
    this.#openings.delete(message.permitId);
    const { times, segments } = await designs.manifestOf(parameters.design);
    const { factor } = opening.machine.profile;
    const window = windowFor(times, factor);
    const { from } = opening.request;
    if (parameters.from !== from || parameters.segments !== segments || parameters.window !== window) {
      throw new MillraceError('E_PERMIT', 'the session does not match the machine’s request for this design');
    }
    const isNewest = this.#newest.enter(parameters.object);
    const named = await this.#nameMachine(link, { type: 'route', session, machine: opening.link });
    // Otherwise the machine calls home again, or has done so meanwhile.
    if (!isNewest() || !named) return;
    await this.#closeStreamsOf(parameters.object);
    const guard = this.#guards.enter(
      parameters.object,
      () => new PaceGuard({ tenthsOfMs: times, factor, window, clock, from }),
    );
    const key = toHex(session);
    let counted = 0n;
    const span = this.#modules.tracer.start('stream');
    const stream = await SegmentsStream.open({
      session,
      permitId: message.permitId,
      seed: message.seed,
      parameters,
      guard,
      engine: this.#engine,
      clock,
      logger,
      sendFrame: (frame) => link.send(encodeStream('frame', frame, session)),
      onTelemetry: (telemetry, { revision, revisionMs }) => {
        this.#revisions.add(Number(revision - counted));
        counted = revision;
        span.set({ revisions: Number(revision) });
        const { order, suite } = parameters;
        this.#report(key, parameters.object, telemetry, revision, { order, suite, revisionMs });
      },
      onFirstTaken: (acked) => objects.reach(parameters.object, acked),
      onEnd: (error) => void this.#ended(key, message.permitId, error),
    });
    this.#streams.set(key, { stream, permitId: message.permitId, link, span });
    this.#running.set(this.#streams.size);
    logger.info({ object: parameters.object, from: parameters.from, window: parameters.window }, 'stream started');
  }

  /** Reads the cells of all slices at once, because the next message of a sweep may remove their places. */
  async slices({ slices }: MessageOf<'stream.slices'>): Promise<void> {
    await Promise.all(slices.map((slice) => this.#slice(slice)));
  }

  async #slice({ session, cells }: MessageOf<'stream.slices'>['slices'][number]): Promise<void> {
    const entry = this.#streams.get(session);
    if (entry === undefined) return;
    // After a second delivery, the cells are already here and their places may no longer exist.
    const wanted = cells.filter(({ segment }) => entry.stream.wants(segment));
    const missing: number[] = [];
    try {
      await this.#give(entry, wanted);
      for (const { segment, index } of wanted) {
        const body = await this.#readIfThere(index);
        if (body === undefined) missing.push(segment);
        else entry.stream.addCell(segment, body);
      }
    } catch (error) {
      return entry.stream.fail(toMillraceError(error));
    }
    if (missing.length > 0)
      await this.#modules.mail.send(
        { role: 'keys', partition: entry.stream.parameters.design },
        { type: 'slice.missing', session, segments: missing },
      );
  }

  async #give({ stream, permitId }: RunningStream, cells: readonly { segment: number }[]): Promise<void> {
    if (cells.length === 0) return;
    const numbers = cells.map(({ segment }) => segment);
    const { segments, window } = stream.parameters;
    const acked = this.#guards.acked(stream.object);
    const [from, to] = [Math.min(...numbers), Math.max(...numbers) + 1];
    await this.#modules.objects.give(stream.object, permitId, { from, to, acked, segments, window });
  }

  async #readIfThere(index: Uint8Array): Promise<Bytes | undefined> {
    try {
      return await this.#modules.cells.read(index);
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'E_CELL_MISSING') return undefined;
      throw error;
    }
  }

  /** Ends all streams of this design with `error`. */
  endDesign(design: string, error: MillraceError): void {
    for (const { stream } of [...this.#streams.values()]) if (stream.design === design) stream.fail(error);
  }

  /** Applies the owner's clearance of an alarm. */
  clearAlarm(clearance: MessageOf<'alarm.clear'>): Promise<void> {
    return this.#modules.objects.clear(clearance, this.#owners());
  }

  /** Applies the owner's statement of how many objects of a licence are left. */
  resume(message: MessageOf<'licence.resume'>): Promise<void> {
    return this.#modules.objects.resume(message, this.#owners());
  }

  /** Applies the owner's credit of a failed object. A stream of that object ends. */
  async credit(message: MessageOf<'case.credit'>): Promise<void> {
    const { objects, logger } = this.#modules;
    const object = await objects.credit(message, this.#owners());
    logger.info({ object }, 'object credited by its owner: it is final');
    for (const { stream } of [...this.#streams.values()])
      if (stream.object === object) stream.fail(creditedError(object));
  }

  /**
   * Applies the owner's statement that suspends, reinstates or revokes a licence. A revocation that stops running
   * objects ends their streams.
   */
  async setLicenceStatus(message: MessageOf<'licence.status'>): Promise<void> {
    const { objects, logger } = this.#modules;
    const { licence, status } = await objects.setStatus(message, this.#owners());
    logger.info({ licence, ...status }, 'licence status set by its owner');
    if (status.revoked !== 'stop') return;
    const error = new MillraceError('E_LICENCE_REVOKED', 'the owner has revoked the licence and stops its objects');
    for (const { stream } of [...this.#streams.values()]) if (licenceOf(stream.object) === licence) stream.fail(error);
  }

  #owners(): OwnerLookup {
    const { directory, designs } = this.#modules;
    return { directory, ownerOf: (design) => designs.authorityOf(design) };
  }

  /** Records the transfers of a licence. */
  async transferLicence(message: MessageOf<'licence.amend'>): Promise<void> {
    const { objects, directory, designs, logger } = this.#modules;
    const designOf = (design: string) => designs.authorityOf(design);
    const { licence, transfers } = await objects.transfer(message, { directory, designOf });
    logger.info({ licence, transfers: transfers.length }, 'licence transferred by its holder');
  }

  takeGroupMail(message: MessageOf<'group.set' | 'machine.assign'>): Promise<void> {
    return takeGroupMail(this.#modules, message);
  }

  mix({ session, revision, secret }: MessageOf<'stream.mix'>): void {
    this.#streams.get(session)?.stream.addMix(BigInt(revision), secret);
    wipe(secret);
  }

  async receive(session: Bytes, frame: Bytes): Promise<void> {
    await this.#streams.get(toHex(session))?.stream.receive(frame);
  }

  /** Ends a stream that the other proactive node or the link has ended. */
  async stop(session: string, error?: MillraceError): Promise<void> {
    const entry = this.#streams.get(session);
    this.#streams.delete(session);
    if (entry === undefined) return;
    this.#running.set(this.#streams.size);
    entry.span.end(error);
    const { object } = entry.stream;
    this.#guards.leave(object);
    await entry.stream.close();
    await this.#modules.objects.reach(object, this.#guards.acked(object)).catch((error: unknown) => {
      this.#modules.logger.error({ err: error, object }, 'acknowledged segments not recorded');
    });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const key of [...this.#streams.keys()]) await this.stop(key);
  }

  /** Sends the machine of a permit or session to its distribution node. */
  async #nameMachine(
    link: DistributionLink,
    message: Extract<LinkControl, { type: 'admit' | 'route' }>,
  ): Promise<boolean> {
    const { logger } = this.#modules;
    const sent = await sendWhenConnected(link, encodeControl(message));
    if (!sent) logger.warn({ machine: message.machine }, `${NO_LINK}: the machine will call home again`);
    return sent;
  }

  async #closeStreamsOf(object: string): Promise<void> {
    for (const [key, { stream }] of [...this.#streams]) if (stream.object === object) await this.stop(key);
  }

  async #ended(key: string, permitId: string, error: MillraceError | undefined): Promise<void> {
    const entry = this.#streams.get(key);
    if (entry === undefined) return;
    const { logger, objects, mail } = this.#modules;
    const { link } = entry;
    const { object } = entry.stream;
    const acked = this.#guards.acked(object);
    await this.stop(key, error);
    // After a temporary error the machine may resume.
    if (error?.retryable !== true) this.#guards.drop(object);
    if (error === undefined) return logger.info({ object }, 'stream complete');
    await reportFailure(
      { logger, objects, mail, link },
      {
        by: 'segments',
        object,
        design: entry.stream.parameters.design,
        permitId,
        acked,
        session: entry.stream.session,
        error,
      },
    );
  }

  /** Sends live figures to control, at most four times a second. A lost report does no harm. */
  #report(session: string, object: string, telemetry: Telemetry, revision: bigint, matrix: Progress['matrix']): void {
    const known = this.#progress.get(object);
    const machine = telemetry.machine ?? known?.machine;
    const { acked, sealed } = telemetry;
    const owner = sealed === undefined ? known?.owner : { session, sealed: toBase64(sealed) };
    const progress = { acked, revision: Number(revision), matrix, machine, owner };
    this.#progress.set(object, progress);
    if (known === undefined) setTimeout(() => this.#tell(object), PROGRESS_MS);
    if (machine?.state === 'done') this.#tell(object);
  }

  #tell(object: string): void {
    const progress = this.#progress.get(object);
    if (progress === undefined) return;
    this.#progress.delete(object);
    this.#modules.control.nodes
      .progress({ object, body: progress }, { timeoutMs: 2_000 })
      .catch((error: unknown) => this.#modules.logger.debug({ err: error }, 'progress not delivered to control'));
  }
}
