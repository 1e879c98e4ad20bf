import {
  type Bytes,
  type Clock,
  type Logger,
  MillraceError,
  type RwLock,
  systemRandom,
  toHex,
  wipe,
} from '@millrace/base';
import type { P256Key } from '@millrace/identity';
import { createEngine } from '@millrace/live-matrix';
import {
  chooseNode,
  type Directory,
  encodeControl,
  keysShareOf,
  licenceOf,
  type MessageOf,
  nodesOf,
  type Opening,
  type OwnerLookup,
  offerSession,
  type StreamParameters,
  type VerifiedOpening,
  verifyOpening,
} from '@millrace/protocol';
import { HashTree, type Manifest, type Playbook, readManifest } from '@millrace/vault';
import type { Deletions } from '../node/deletions.ts';
import type { DistributionLink, DistributionLinks } from '../node/distribution-links.ts';
import type { MailClient } from '../node/mail-client.ts';
import { ranges } from '../node/runs.ts';
import { creditedError } from '../streaming/credits.ts';
import { takeGroupMail } from '../streaming/group-mail.ts';
import { Guards } from '../streaming/guards.ts';
import type { ObjectRepository } from '../streaming/objects.ts';
import { PaceGuard, windowFor } from '../streaming/pace.ts';
import { packageBinding, releaseShare } from '../streaming/package-release.ts';
import { reportRefusedOpening } from '../streaming/refused-opening.ts';
import { revisionMsFor } from '../streaming/revision-interval.ts';
import { type GoOn, NewestSession, NO_LINK, sendWhenConnected } from '../streaming/send-when-connected.ts';
import { reportFailure } from '../streaming/stream-failure.ts';
import type { LicenceRepository } from './licences.ts';
import { type SliceMail, sliceMail } from './slice-mail.ts';
import { KeysStream } from './stream.ts';

export interface KeysStreamsModules {
  readonly directory: Directory;
  /** This node's static key. Machines accept no other key. */
  readonly identity: P256Key;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly playbook: Playbook;
  readonly licences: LicenceRepository;
  readonly deletions: Deletions;
  readonly objects: ObjectRepository;
  readonly mail: MailClient;
  readonly links: Pick<DistributionLinks, 'to'>;
  /** Slices are posted under a shared lock: no message of a sweep that removes their places is sent before them. */
  readonly order: RwLock;
  /** Chaff hints for every 100 hints of data, if the machine uses sparse hints. */
  readonly chaffPercent: number;
}

interface RunningStream {
  readonly stream: KeysStream;
  readonly permitId: string;
  /** Id of the segments node. */
  readonly segments: string;
  /** To the distribution node of the machine. */
  readonly link: DistributionLink;
}

/** A cell that is missing in this many slices in a row is lost. */
const MAX_MISSED = 3;

/** All streams of the keys node. */
export class KeysStreams {
  readonly #modules: KeysStreamsModules;
  readonly #streams = new Map<string, RunningStream>();
  readonly #guards: Guards;
  readonly #newest = new NewestSession();
  readonly #engine = createEngine();
  readonly #slices: SliceMail;

  constructor(modules: KeysStreamsModules) {
    this.#modules = modules;
    this.#guards = new Guards(modules.clock);
    this.#slices = sliceMail(modules.mail);
  }

  /**
   * Handles a permit that control announces: verifies it, derives the session and offers it to the machine.
   * @param at ids of the segments node that streams, by default the one to which the design belongs, and of the
   *   distribution node to which the machine is connected, by default the first one
   * @param goOn takes work that continues while other mail is handled: an offer waits for a link that is down
   */
  async open(
    opening: Opening,
    at: Pick<MessageOf<'stream.open'>, 'segments' | 'distribution'> = {},
    goOn: GoOn = (work) => work,
  ): Promise<void> {
    const refused = async (error: unknown): Promise<never> => {
      await reportRefusedOpening(this.#modules.mail, { opening, by: 'keys', error });
      throw error;
    };
    const link = this.#modules.links.to(at.distribution);
    const start = await this.#open(opening, at.segments, link).catch(refused);
    const { connected } = link;
    const started = start?.().catch(refused);
    return connected || started === undefined ? started : goOn(started);
  }

  /** @returns what is left to do: offer the session to the machine, and start it */
  async #open(
    opening: Opening,
    named: string | undefined,
    link: DistributionLink,
  ): Promise<(() => Promise<void>) | undefined> {
    const { directory, clock, objects, playbook, licences, deletions, logger } = this.#modules;
    let manifest: Manifest | undefined;
    const designOf = async (design: string) => {
      await deletions.requireKept(design);
      manifest = readManifest(await playbook.manifest(design));
      return manifest;
    };
    const begun = (object: string) => objects.begun(object);
    const credits = (licence: string) => objects.credits(licence);
    const verified = await verifyOpening(opening, { directory, now: clock.now(), designOf, begun, credits });
    const { permit, licence, machine, request } = verified;
    const permitId = toHex(permit.id);
    if (licence.package !== undefined) return () => this.#releaseShare(verified, permitId, link);
    await objects.reach(permit.object, this.#guards.acked(permit.object));
    if (!(await objects.use(verified, permitId))) return undefined;
    const node = segmentsNode(directory, permit.design, named);
    for (const [key, former] of [...this.#streams]) {
      if (former.stream.object !== permit.object) continue;
      await this.stop(key);
      if (former.segments !== node) await this.#closeAt(former.segments, key);
    }

    if (manifest === undefined) throw new MillraceError('E_INTERNAL', 'the opening was verified without its design');
    const { hashes, times } = manifest;
    const tree = new HashTree(hashes);
    const session = systemRandom(16);
    const parameters = parametersOf(verified, manifest, this.#modules.chaffPercent);
    if (this.#modules.chaffPercent > 0 && parameters.chaffPercent === undefined)
      logger.warn({ object: permit.object }, 'stream without chaff: the machine accepts only dense hints');
    const licenceSecret = await licences.secretOf(permit.licence);
    const designSecret = manifest.custody === 'keys' ? await playbook.designSecret(permit.design) : undefined;
    const side = await offerSession({
      binding: { openingHash: verified.hash, session, licence: permit.licence, serial: machine.serial },
      machineStatic: machine.publicKey,
      machineEphemeral: request.ephemeral,
      sender: this.#modules.identity,
      licenceSecret,
      parameters,
      core: manifest.core,
      designSecret,
    });
    wipe(licenceSecret, designSecret);
    const begin = { type: 'stream.session', session, permitId, seed: side.seed, parameters } as const;
    await this.#modules.mail.send({ node }, begin);
    return async () => {
      const offer = encodeControl({ type: 'offer', machine: verified.link, permitId, offer: side.offer });
      const isNewest = this.#newest.enter(permit.object);
      const sent = await sendWhenConnected(link, offer);
      if (!isNewest()) return; // the machine has called home meanwhile
      if (!sent) return logger.warn({ object: permit.object }, `${NO_LINK}: the machine will call home again`);
      const { factor } = machine.profile;
      const { from, window, segments } = parameters;
      const guard = this.#guards.enter(
        permit.object,
        () => new PaceGuard({ tenthsOfMs: times, factor, window, clock, from }),
      );
      const key = toHex(session);
      const stream = await KeysStream.open({
        session,
        seed: side.seed,
        parameters,
        context: side.context,
        guard,
        engine: this.#engine,
        clock,
        logger,
        slice: async (from, to, acked) => {
          await objects.give(permit.object, permitId, { from, to, acked, segments, window });
          return this.#slice(key, node, permit.design, from, to);
        },
        hashes: (group) => tree.group(group),
        mailMix: (revision, secret) =>
          this.#modules.mail.send(
            { node },
            {
              type: 'stream.mix',
              session: key,
              revision: Number(revision),
              secret: new Uint8Array(secret),
            },
          ),
        send: (message) => link.send(message),
        onEnd: (error) => void this.#ended(key, permitId, error),
      });
      this.#streams.set(key, { stream, permitId, segments: node, link });
      logger.info(
        { object: permit.object, number: permit.number, of: licence.objects, from: request.from },
        'stream started',
      );
    };
  }

  /** Counts an object that is made from a job package, and releases this node's share of the package's key. */
  async #releaseShare(verified: VerifiedOpening, permitId: string, link: DistributionLink): Promise<void> {
    const { directory, licences, objects } = this.#modules;
    const licenceSecret = await licences.secretOf(verified.permit.licence);
    const share = keysShareOf(licenceSecret, packageBinding(directory, verified));
    wipe(licenceSecret);
    try {
      if (await objects.use(verified, permitId))
        await releaseShare({ ...this.#modules, link }, 'keys', verified, share);
    } finally {
      wipe(share);
    }
  }

  async receive(session: Bytes, frame: Bytes): Promise<void> {
    await this.#streams.get(toHex(session))?.stream.receive(frame);
  }

  /**
   * Handles cells that were not at the places of their slice. Keys are sent once, so the machine must begin a new
   * session. A new session helps if a message was delivered out of order, but not if the cell is lost.
   * @param from id of the segments node that says so: only that of the stream counts
   */
  async missing({ session, segments }: MessageOf<'slice.missing'>, from: string): Promise<void> {
    const entry = this.#streams.get(session);
    const segment = Math.min(...segments);
    if (entry?.segments !== from || segments.length === 0) return;
    const { object } = entry.stream;
    const times = this.#guards.missed(object, segment);
    const lost = `the vault does not hold segments ${ranges(segments)} of the design`;
    const error =
      times < MAX_MISSED
        ? new MillraceError('E_UNAVAILABLE', 'cells were moved before they were read')
        : new MillraceError('E_CELL_MISSING', lost, { data: { segment, segments } });
    await this.#ended(session, entry.permitId, error);
  }

  /** Handles an alarm of the segments node: stops sending keys of this object. */
  async alarmed({ object }: MessageOf<'stream.alarm'>): Promise<void> {
    await this.#modules.objects.alarm(object);
    for (const [key, { stream }] of [...this.#streams]) if (stream.object === object) await this.stop(key);
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
    const error = creditedError(object);
    for (const [key, { stream, permitId }] of [...this.#streams])
      if (stream.object === object) await this.#ended(key, permitId, error);
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
    for (const [key, { stream, permitId }] of [...this.#streams])
      if (licenceOf(stream.object) === licence) await this.#ended(key, permitId, error);
  }

  #owners(): OwnerLookup {
    const { directory, playbook } = this.#modules;
    return { directory, ownerOf: (design) => playbook.design(design) };
  }

  /** Records the transfers of a licence. */
  async transferLicence(message: MessageOf<'licence.amend'>): Promise<void> {
    const { objects, directory, playbook, logger } = this.#modules;
    const designOf = async (design: string) => readManifest(await playbook.manifest(design));
    const { licence, transfers } = await objects.transfer(message, { directory, designOf });
    logger.info({ licence, transfers: transfers.length }, 'licence transferred by its holder');
  }

  takeGroupMail(message: MessageOf<'group.set' | 'machine.assign'>): Promise<void> {
    return takeGroupMail(this.#modules, message);
  }

  /** Ends all streams of this design with `error`. */
  async endDesign(design: string, error: MillraceError): Promise<void> {
    for (const [key, { stream, permitId }] of [...this.#streams])
      if (stream.design === design) await this.#ended(key, permitId, error);
  }

  async stop(session: string): Promise<void> {
    const entry = this.#streams.get(session);
    this.#streams.delete(session);
    if (entry === undefined) return;
    const { object } = entry.stream;
    this.#guards.leave(object);
    await entry.stream.close();
    await this.#modules.objects.reach(object, this.#guards.acked(object)).catch((error: unknown) => {
      this.#modules.logger.error({ err: error, object }, 'acknowledged segments not recorded');
    });
  }

  async close(): Promise<void> {
    for (const key of [...this.#streams.keys()]) await this.stop(key);
  }

  /**
   * Reads a consistent snapshot of places and keys. The places reach the segments node before any message that removes
   * them.
   */
  #slice(session: string, segments: string, design: string, from: number, to: number) {
    const { directory, order, playbook } = this.#modules;
    return order.read(async () => {
      if (!nodesOf(directory, 'segments').some(({ id }) => id === segments))
        throw new MillraceError('E_UNAVAILABLE', `segments node ${segments} was retired`);
      const slice = await playbook.slice(design, from, to);
      const cells = slice.map(({ segment, index }) => ({ segment, index: new Uint8Array(index) }));
      await this.#slices.add(segments, { session, cells });
      return slice;
    });
  }

  /** Ends a stream at a segments node; it may be frozen, and then ends the stream when it wakes up. */
  async #closeAt(segments: string, session: string): Promise<void> {
    const { mail, logger } = this.#modules;
    await mail.send({ node: segments }, { type: 'stream.close', session }).catch((error: unknown) => {
      logger.debug({ err: error, segments }, 'the former segments node is not told of the end of its stream');
    });
  }

  async #ended(key: string, permitId: string, error: MillraceError | undefined): Promise<void> {
    const entry = this.#streams.get(key);
    if (entry === undefined) return;
    const { logger, objects, mail } = this.#modules;
    const { link } = entry;
    const { object } = entry.stream;
    const acked = this.#guards.acked(object);
    await this.stop(key);
    // After a temporary error the machine may resume.
    if (error?.retryable !== true) this.#guards.drop(object);
    if (error === undefined) return logger.info({ object }, 'stream complete');
    await reportFailure(
      { logger, objects, mail, link },
      {
        ...{ by: 'keys', object, design: entry.stream.design, permitId, acked, error },
        ...{ session: entry.stream.session, segments: entry.segments },
      },
    );
  }
}

/** The segments node of a stream: the one that control names, or the one to which the design belongs. */
function segmentsNode(directory: Directory, design: string, named: string | undefined): string {
  if (named === undefined) return chooseNode(directory, 'segments', design).id;
  if (!nodesOf(directory, 'segments').some(({ id }) => id === named))
    throw new MillraceError('E_INPUT', `the directory names no segments node ${named}`);
  return named;
}

function parametersOf(
  { permit, request, machine }: VerifiedOpening,
  manifest: Manifest,
  chaffPercent: number,
): StreamParameters {
  if (request.from >= manifest.segments) throw new MillraceError('E_INPUT', 'there is nothing left to stream');
  const { order, suite, hints, tableMs, from } = request;
  return {
    object: permit.object,
    design: permit.design,
    designNonce: manifest.nonce,
    segments: manifest.segments,
    from,
    size: manifest.size,
    window: windowFor(manifest.times, machine.profile.factor),
    order,
    suite,
    hints,
    ...(hints === 'sparse' && chaffPercent > 0 ? { chaffPercent } : {}),
    layer: manifest.maintenance === 'key-homomorphic' ? 'points' : 'ctr',
    revisionMs: revisionMsFor(order, tableMs),
  };
}
