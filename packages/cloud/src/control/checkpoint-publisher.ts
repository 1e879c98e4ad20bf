import { type Bytes, type Closable, type Logger, MillraceError } from '@millrace/base';
import {
  formatNote,
  type Ledger,
  type NoteSignature,
  noteTypes,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  requestCosignature,
  type VerifierKey,
} from '@millrace/ledger';
import { callPublic } from '@millrace/protocol';
import type { WitnessSettings } from '../settings.ts';

export interface PublisherOptions {
  readonly ledger: Pick<Ledger, 'checkpoint' | 'proveConsistency'>;
  readonly witnesses: readonly WitnessSettings[];
  readonly logger: Logger;
  /** Interval between checks for a new head, ms. */
  readonly everyMs: number;
  /** Time within which a witness must answer, ms. */
  readonly timeoutMs: number;
}

/** Publishes the checkpoint of the public ledger, with the witnesses' cosignatures. */
export interface CheckpointPublisher extends Closable {
  /** The newest checkpoint that was sent to all witnesses. */
  current(): Bytes;
  /** A checkpoint that covers all present entries. Resolves when the witnesses have answered or timed out. */
  newest(): Promise<Bytes>;
  /** Verifier keys of the witnesses. */
  readonly witnesses: readonly string[];
}

interface Witness {
  readonly key: VerifierKey;
  readonly url: URL;
  readonly authority: string | undefined;
  /** Size of the tree that the witness signed last; 0 if unknown. */
  size: number;
  /** Outcome of the last request, so that each change is logged once. */
  last: 'signed' | 'conflict' | 'ahead' | 'failed' | undefined;
}

/**
 * Asks the witnesses to sign each new head, and publishes it with the cosignatures received. The log does not wait for
 * witnesses: if one does not answer, the checkpoint is published without its cosignature.
 * @throws {MillraceError} E_CONFIG for an invalid key or URL
 */
export function createCheckpointPublisher(options: PublisherOptions): CheckpointPublisher {
  const { ledger, logger } = options;
  const witnesses = options.witnesses.map(openWitness);
  const stop = new AbortController();
  let published = ledger.checkpoint();
  let publishedFrom: Bytes | undefined = witnesses.length === 0 ? published : undefined;
  let round: Promise<void> | undefined;

  const isPublished = (checkpoint: Bytes) =>
    publishedFrom !== undefined && textOf(checkpoint) === textOf(publishedFrom);
  const publish = async () => {
    const checkpoint = ledger.checkpoint();
    if (isPublished(checkpoint)) return;
    const lines = await Promise.all(witnesses.map((witness) => ask(witness, checkpoint, options, stop.signal)));
    const { text, signatures } = parseNote(checkpoint);
    published = formatNote({ text, signatures: [...signatures, ...lines.flatMap((line) => line ?? [])] });
    publishedFrom = checkpoint;
  };
  const once = () => {
    round ??= publish().finally(() => {
      round = undefined;
    });
    return round;
  };
  const newest = async () => {
    // The round in progress may have begun before the last entry was appended.
    if (round !== undefined) await round;
    await once();
    return published;
  };
  if (witnesses.length === 0)
    return {
      witnesses: [],
      current: () => ledger.checkpoint(),
      newest: async () => ledger.checkpoint(),
      close: () => {},
    };
  const failed = (err: unknown) => logger.error({ err }, 'checkpoint not published: the next attempt follows');
  const timer = setInterval(() => void once().catch(failed), options.everyMs);
  void once().catch(failed);
  return {
    witnesses: options.witnesses.map(({ key }) => key),
    current: () => published,
    newest,
    close: async () => {
      clearInterval(timer);
      stop.abort();
      await round?.catch(() => undefined);
    },
  };
}

/** The witness's signature line; undefined if it returned none. */
async function ask(
  witness: Witness,
  checkpoint: Bytes,
  { ledger, logger, timeoutMs }: PublisherOptions,
  signal: AbortSignal,
): Promise<NoteSignature | undefined> {
  const { size } = parseCheckpoint(textOf(checkpoint));
  const { key, url, authority } = witness;
  // One timeout for all answers together, so that a deliberately slow witness delays nobody for longer.
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  try {
    const answer = await requestCosignature({
      witness: key,
      checkpoint,
      old: witness.size,
      prove: (old) => ledger.proveConsistency(old, size),
      post: (body) => callPublic({ url, body, authority, timeoutMs, maxBytes: 64 * 1024, signal: deadline }),
    });
    const before = witness.last;
    witness.last = answer.outcome;
    if (answer.outcome === 'signed') {
      witness.size = size;
      if (before !== 'signed') logger.info({ witness: key.name, size }, 'witness signs checkpoints');
      return answer.signature;
    }
    if (before === answer.outcome) return undefined;
    const about = { witness: key.name, size, witnessed: answer.size };
    // This happens only if the histories differ: the log was restored to an older state, or it runs twice.
    logger.error(about, 'witness refuses the checkpoint: it has signed a head that this log does not extend');
  } catch (error) {
    if (witness.last !== 'failed')
      logger.warn(
        { err: error, witness: key.name },
        'witness did not sign the checkpoint: the next one is sent to it again',
      );
    witness.last = 'failed';
  }
  return undefined;
}

function openWitness({ url, key, authority }: WitnessSettings): Witness {
  const parsed = parseVerifierKey(key);
  if (parsed.type !== noteTypes.cosignature)
    throw new MillraceError('E_CONFIG', `${parsed.name}: not the key of a witness (type 0x04)`);
  return {
    key: parsed,
    url: new URL('add-checkpoint', url.endsWith('/') ? url : `${url}/`),
    authority,
    size: 0,
    last: undefined,
  };
}

function textOf(checkpoint: Uint8Array): string {
  return parseNote(checkpoint).text;
}
