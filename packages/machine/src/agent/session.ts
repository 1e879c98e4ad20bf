import { type Bytes, fromHex, MillraceError, toMillraceError, wipe } from '@millrace/base';
import {
  acceptSession,
  createOwnerSealing,
  forwardSeed,
  identitiesOf,
  type MachineSide,
  type OwnerSealing,
  type StreamParameters,
} from '@millrace/protocol';
import type { Feed } from './feed.ts';
import type { Incoming } from './inbox.ts';
import { LevelChange } from './level-change.ts';
import { checkDesign, type Design, designSecretOf } from './licensed-design.ts';
import type { Level } from './matrix-level.ts';
import type { OwnerFacts } from './owner-facts.ts';
import type { AgentParts } from './parts.ts';
import type { PermittedSession } from './permit.ts';
import type { PrintProgress } from './progress.ts';
import { Stream, type StreamEnd } from './stream.ts';

export interface SessionOptions {
  readonly parts: AgentParts;
  readonly permitted: PermittedSession;
  /** Requested level. */
  readonly level: Level;
  /** First requested segment. */
  readonly from: number;
  /** The print's feed and progress. They outlive the session. */
  readonly feed: Feed;
  readonly progress: PrintProgress;
  readonly owner: OwnerFacts;
  readonly signal: AbortSignal;
}

/**
 * One session of a print, from the keys node's offer to its end. A session that fails to begin counts as broken and may
 * be resumed, except after tampering.
 * @throws {MillraceError} E_SEAL (the offer does not open), E_PERMIT (it is for something else), E_DESIGN_KIND, and the
 *   errors of `Stream.run`
 */
export async function runSession(options: SessionOptions): Promise<StreamEnd> {
  const { parts, permitted, feed, signal } = options;
  const { config, inbox, timing } = parts;
  let side: MachineSide | undefined;
  let secret: Bytes | undefined;
  try {
    const incoming = await inbox.take(permitted.permitId, timing.offerMs, signal);
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
    feed.open(side.parameters, design, secret);
    wipe(secret);
    return await runStream(options, incoming, side, design);
  } catch (error) {
    signal.throwIfAborted();
    const known = toMillraceError(error);
    if (known.code === 'E_TIMEOUT' && side === undefined) parts.link.leave('no stream was offered over it');
    // No offer in time, or the connection was lost before the offer.
    if (known.code === 'E_TIMEOUT' || known.code === 'E_UNAVAILABLE') return { kind: 'broken', reason: known.message };
    throw known;
  } finally {
    wipe(side?.seed, side?.designSecret, secret);
    permitted.ephemeral.close();
  }
}

/** Makes the first table, then runs the stream. */
async function runStream(
  options: SessionOptions,
  incoming: Incoming,
  side: MachineSide,
  design: Design,
): Promise<StreamEnd> {
  const { parts, permitted, level, feed, progress, owner, signal } = options;
  const { clock, tables, logger } = parts;
  const sealing = await sealingFor(options, incoming.offer.session);
  try {
    const began = clock.monotonic();
    const seed = forwardSeed(side.seed);
    const receiver = await tables.open(level, incoming.offer.session, seed, signal).finally(() => wipe(seed));
    try {
      tables.took(level, clock.monotonic() - began);
      const { from, window, revisionMs } = side.parameters;
      const { object } = permitted.permit;
      logger.info({ object, from, window, revisionMs, ...level, engine: receiver.engine }, 'stream open');
      const stream = new Stream({
        parts,
        incoming,
        side,
        design,
        receiver,
        level,
        feed,
        progress,
        change: new LevelChange(parts, progress, level, signal),
        sealed: () => sealing.seal(owner.state()),
      });
      // Both ratchets have been derived from the seed.
      wipe(side.seed);
      return await stream.run();
    } finally {
      await receiver.close();
    }
  } finally {
    sealing.close();
  }
}

/** Seals to the licence's owner, end to end. */
function sealingFor({ parts, permitted }: SessionOptions, session: Uint8Array): Promise<OwnerSealing> {
  const { installation } = parts.config.directory;
  return createOwnerSealing(permitted.licence.telemetryKey, { installation, object: permitted.permit.object }, session);
}

/** The set-up must match the permit and the agent's request. */
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
  if (!right) throw new MillraceError('E_PERMIT', 'the offered stream is not the permitted one');
}
