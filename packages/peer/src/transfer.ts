import { createHash } from 'node:crypto';
import { MillraceError, wipe } from '@millrace/base';
import { type MatrixParameters, openLiveReceiver, openLiveSender } from '@millrace/live-matrix';
import type { Peer } from './listen.ts';

/** Summary of a transfer that the other end has confirmed. */
export interface Transferred {
  readonly bytes: number;
  /** SHA-256 of the data, hexadecimal. */
  readonly sha256: string;
  /** Bytes of all messages of the stream, in both directions. */
  readonly wireBytes: number;
}

/** Destination of received data. Exactly one of `commit` and `discard` ends it. */
export interface Sink {
  write(chunk: Uint8Array): Promise<void>;
  /** The data is complete: keep it. */
  commit(): Promise<void>;
  /** The data is incomplete: remove it. */
  discard(): Promise<void>;
}

interface TransferOptions {
  readonly peer: Peer;
  readonly signal?: AbortSignal;
  readonly onProgress?: (bytes: number) => void;
}

/** Sends all data of `source`. @throws {MillraceError} E_STREAM_*, E_INPUT if the source fails */
export async function sendToPeer(
  options: TransferOptions & {
    readonly source: AsyncIterable<Uint8Array>;
    readonly parameters?: MatrixParameters;
  },
): Promise<Transferred> {
  const { peer, source, parameters, signal, onProgress } = options;
  const stream = openLiveSender({
    channel: peer.channel,
    secret: peer.secret,
    ...(parameters === undefined ? {} : { parameters }),
    ...(signal === undefined ? {} : { signal }),
  });
  wipe(peer.secret);
  const hash = createHash('sha256');
  const writer = stream.writable.getWriter();
  writer.closed.catch(() => undefined);
  const chunks = source[Symbol.asyncIterator]();
  // The stream may end while the source is idle.
  let giveUp: (error: unknown) => void = () => undefined;
  stream.closed.catch((error) => giveUp(error));
  const next = () =>
    new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
      giveUp = reject;
      chunks.next().then(resolve, async (cause) => {
        reject(new MillraceError('E_INPUT', 'the source cannot be read', { cause }));
        await writer.abort(cause).catch(() => undefined);
      });
    });
  let bytes = 0;
  for (let chunk = await next(); chunk.done !== true; chunk = await next()) {
    hash.update(chunk.value);
    await writer.write(chunk.value);
    bytes += chunk.value.length;
    onProgress?.(bytes);
  }
  writer.close().catch(() => undefined); // `closed` has the details
  const { wireBytes } = await stream.closed;
  return { bytes, sha256: hash.digest('hex'), wireBytes };
}

/**
 * Receives all data into `sink`. The sink is committed before the sender gets the confirmation, and discarded on any
 * failure.
 * @throws {MillraceError} E_STREAM_*, E_FRAME_*, E_SEAL, and errors of the sink
 */
export async function receiveFromPeer(options: TransferOptions & { readonly sink: Sink }): Promise<Transferred> {
  const { peer, sink, signal, onProgress } = options;
  let kept: { resolve(): void; reject(error: unknown): void } | undefined;
  const confirmed = new Promise<void>((resolve, reject) => {
    kept = { resolve, reject };
  });
  confirmed.catch(() => undefined);
  const stream = openLiveReceiver({
    channel: peer.channel,
    secret: peer.secret,
    confirm: () => confirmed,
    ...(signal === undefined ? {} : { signal }),
  });
  wipe(peer.secret);
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    for await (const chunk of stream.readable) {
      hash.update(chunk);
      await sink.write(chunk);
      bytes += chunk.length;
      onProgress?.(bytes);
    }
    await sink.commit();
  } catch (error) {
    kept?.reject(error);
    await sink.discard();
    await stream.closed.catch(() => undefined); // the other end was notified
    throw error;
  }
  kept?.resolve();
  const { wireBytes } = await stream.closed;
  return { bytes, sha256: hash.digest('hex'), wireBytes };
}
