import { type Bytes, fromHex, MillraceError, toMillraceError, wipe } from '@millrace/base';
import {
  acceptSession,
  createOwnerSealing,
  forwardSeed,
  identitiesOf,
  type MachineSide,
  type OwnerSealing,
  type OwnerState,
  type StreamParameters,
} from '@millrace/protocol';
import type { Level } from './adapt.ts';
import { checkDesign, type Design, designSecretOf } from './design.ts';
import type { Feed } from './feed.ts';
import type { AgentParts } from './parts.ts';
import type { PermittedSession } from './permit.ts';
import { Stream, type StreamEnd, type StreamOptions } from './stream.ts';

export interface SessionOptions extends Pick<StreamOptions, 'state' | 'onHints' | 'change'> {
  /** What only the owner learns. */
  ownerState(): OwnerState;
  readonly parts: AgentParts;
  readonly permitted: PermittedSession;
  /** What was asked for. */
  readonly level: Level;
  /** First segment asked for. */
  readonly from: number;
  /**
   * The feed of this print: made from the first session's design, the same ever after.
   * @param secret the design secret; the feed keeps a copy
   */
  feedFor(parameters: StreamParameters, design: Design, secret: Uint8Array): Feed;
  readonly signal: AbortSignal;
}

/**
 * One session of a print, from the keys node's offer to its end. Whatever keeps it from beginning is a broken session
 * unless somebody has tampered with it.
 * @throws {MillraceError} E_SEAL (the offer does not open), E_PERMIT (it is for something else), E_DESIGN_KIND, and as `Stream.run`
 */
export async function runSession(options: SessionOptions): Promise<StreamEnd> {
  const { parts, permitted, level, signal } = options;
  const { config, clock, inbox, tables, link, timing, logger } = parts;
  let side: MachineSide | undefined;
  let secret: Bytes | undefined;
  let sealing: OwnerSealing | undefined;
  try {
    const incoming = await inbox.take(permitted.jti, timing.offerMs, signal);
    side = await acceptSession({
      binding: {
        openingHash: permitted.openingHash,
        session: incoming.offer.session,
        licence: permitted.permit.licence,
        serial: config.serial,
      },
      offer: incoming.offer,
      machineKey: config.machineKey,
      ephemeral: permitted.ephemeral,
      sender: identitiesOf(config.directory, 'keys').map(fromHex),
    });
    checkParameters(options, side.parameters);
    const design = checkDesign(side, permitted, parts.driver.capabilities);
    const { machineKey, directory } = config;
    const { installation } = directory;
    secret = await designSecretOf(design, permitted, side.designSecret, { machineKey, installation });
    const feed = options.feedFor(side.parameters, design, secret);
    wipe(secret);
    sealing = await sealingFor(options, incoming.offer.session);
    const began = clock.monotonic();
    const seed = forwardSeed(side.seed);
    const receiver = await tables.open(level, incoming.offer.session, seed, signal).finally(() => wipe(seed));
    try {
      tables.took(level, clock.monotonic() - began);
      const { from, window, revisionMs } = side.parameters;
      logger.info(
        { object: permitted.permit.object, from, window, revisionMs, ...level, engine: receiver.engine },
        'stream open',
      );
      const stream = new Stream({
        incoming,
        side,
        design,
        receiver,
        feed,
        secrets: parts.secrets,
        clock,
        logger,
        stallMs: config.agent.stallMs,
        state: options.state,
        sealed: () => sealing?.seal(options.ownerState()),
        send: (frame) => link.sendReverse(frame),
        onTable: (tableMs) => tables.took(level, tableMs),
        onUnfinished: (ms) => tables.unfinished(level, ms),
        tableMs: () => tables.ms(level),
        change: options.change,
        onHints: options.onHints,
      });
      // Both ratchets have been made from it.
      wipe(side.seed);
      return await stream.run();
    } finally {
      await receiver.close();
    }
  } catch (error) {
    signal.throwIfAborted();
    const known = toMillraceError(error);
    // No offer in time, or the connection lost before it came.
    if (known.code === 'E_TIMEOUT' || known.code === 'E_UNAVAILABLE') return { kind: 'broken', reason: known.message };
    throw known;
  } finally {
    wipe(side?.seed, side?.designSecret, secret);
    sealing?.close();
    permitted.ephemeral.close();
  }
}

/** The licence's owner reads it, nobody between. */
function sealingFor({ parts, permitted }: SessionOptions, session: Uint8Array): Promise<OwnerSealing> {
  const { installation } = parts.config.directory;
  return createOwnerSealing(permitted.licence.telemetryKey, { installation, object: permitted.permit.object }, session);
}

/** The set-up must be that of the permit and of our own request. */
function checkParameters({ permitted, from, level, parts }: SessionOptions, parameters: StreamParameters): void {
  const { permit } = permitted;
  const { order, suite } = level;
  const right =
    parameters.object === permit.object &&
    parameters.design === permit.design &&
    parameters.from === from &&
    parameters.order === order &&
    parameters.suite === suite &&
    parameters.hints === parts.config.agent.hints &&
    (parameters.hints === 'sparse' || parameters.chaffPercent === undefined);
  if (!right) throw new MillraceError('E_PERMIT', 'the stream that was offered is not the permitted one');
}
