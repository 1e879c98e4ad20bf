import { type Bytes, type Clock, copyBytes, type Logger, Mutex, utf8 } from '@millrace/base';
import {
  cosign,
  decideCheckpoint,
  formatCosignatures,
  formatVerifierKey,
  noteTypes,
  parseAddCheckpoint,
  parseCheckpoint,
  parseNote,
  parseVerifierKey,
  type VerifierKey,
  WITNESS_SIZE_TYPE,
  type WitnessedHead,
} from '@millrace/ledger';
import type { WitnessFolder } from './folder.ts';

export interface WitnessOptions {
  readonly folder: WitnessFolder;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface WitnessAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: Bytes;
}

/** Signs only checkpoints that extend those it has signed before. */
export interface Witness {
  /** Verifier key string, type 0x04. */
  readonly key: string;
  /** Origins of the logs. */
  readonly logs: readonly string[];
  /**
   * Answers one add-checkpoint request (C2SP tlog-witness). The checkpoint is durable before the cosignature is made.
   * @throws {MillraceError} E_INPUT for an invalid body; errors of the disk
   */
  addCheckpoint(body: Uint8Array): Promise<WitnessAnswer>;
}

const TEXT = 'text/plain; charset=utf-8';

export function createWitness({ folder, clock, logger }: WitnessOptions): Witness {
  const { signer } = folder;
  const logs = new Map<string, VerifierKey[]>();
  for (const key of folder.logs.map(parseVerifierKey)) logs.set(key.name, [...(logs.get(key.name) ?? []), key]);
  const heads = new Map<string, WitnessedHead>();
  for (const [origin, checkpoint] of folder.heads) heads.set(origin, parseCheckpoint(parseNote(checkpoint).text));
  // Two concurrent requests could extend the same checkpoint in different ways.
  const mutex = new Mutex();

  const decide = async (body: Uint8Array): Promise<WitnessAnswer> => {
    const request = parseAddCheckpoint(body);
    const decision = decideCheckpoint(request, logs, (origin) => heads.get(origin));
    if (decision.status !== 200) {
      const { status, reason, size } = decision;
      if ('fork' in decision) {
        const { origin } = parseCheckpoint(parseNote(request.checkpoint).text);
        logger.error(
          { origin, size },
          'log has signed two heads of one size: it shows two histories; evidence is kept',
        );
        await folder.storeFork(origin, request.checkpoint);
      } else {
        logger.info({ status, reason }, 'checkpoint refused');
      }
      return size === undefined
        ? { status, type: TEXT, body: utf8(`${reason}\n`) }
        : { status, type: WITNESS_SIZE_TYPE, body: utf8(`${size}\n`) };
    }
    const { checkpoint, text } = decision;
    const { origin, size, root } = checkpoint;
    if (heads.get(origin)?.size !== size) {
      await folder.storeHead(origin, request.checkpoint);
      heads.set(origin, { size, root: copyBytes(root) });
    }
    const signature = await cosign(text, Math.floor(clock.now() / 1000), signer);
    logger.info({ origin, size }, 'checkpoint signed');
    return { status: 200, type: TEXT, body: formatCosignatures([signature]) };
  };

  return {
    key: formatVerifierKey(signer.name, signer.publicKey, noteTypes.cosignature),
    logs: [...logs.keys()],
    addCheckpoint: (body) => mutex.run(() => decide(body)),
  };
}
