import { createHash } from 'node:crypto';
import { MillraceError, wipe } from '@millrace/base';
import { type MatrixParameters, openLiveReceiver, openLiveSender } from '@millrace/live-matrix';
import type { Peer } from './listen.ts';

/** What went through, once the other end has confirmed it. */
export interface Transferred {
  readonly bytes: number;
  /** Of the data, hexadecimal. */
  readonly sha256: string;
  /** Bytes of all messages of the stream, both ways. */
  readonly wireBytes: number;
}

/** Where received data goes. Exactly one of `commit` and `discard` ends it. */
export interface Sink {
  write(chunk: Uint8Array): Promise<void>;
  /** Everything has come: keep it. */
  commit(): Promise<void>;
  /** It is not whole: leave nothing behind. */
  discard(): Promise<void>;
}

interface TransferOptions {
  readonly peer: Peer;
  readonly signal?: AbortSignal;
  readonly onProgress?: (bytes: number) => void;
}

/** Sends everything that `source` gives. @throws {MillraceError} E_STREAM_*, E_INPUT when the source fails */
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
  // A source may be silent for long, and the stream end meanwhile.
  let giveUp: (error: unknown) => void = () => undefined;
  stream.closed.catch((error) => giveUp(error));
  const next = () =>
    new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
      giveUp = reject;
      chunks.next().then(resolve, async (cause) => {
        reject(new MillraceError('E_INPUT', 'what is to be sent cannot be read', { cause }));
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
  writer.close().catch(() => undefined); // `closed` says more
  const { wireBytes } = await stream.closed;
  return { bytes, sha256: hash.digest('hex'), wireBytes };
}

/**
 * Receives everything into `sink`, which is committed before the sender is told that all is well, and discarded when it
 * is not. @throws {MillraceError} E_STREAM_*, E_FRAME_*, E_SEAL, and what the sink throws
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
    await stream.closed.catch(() => undefined); // the other end has been told
    throw error;
  }
  kept?.resolve();
  const { wireBytes } = await stream.closed;
  return { bytes, sha256: hash.digest('hex'), wireBytes };
}
