import { createServer, type Socket } from 'node:net';
import { type Bytes, type Logger, MillraceError, silentLogger, toMillraceError } from '@millrace/base';
import type { LiveChannel } from '@millrace/live-matrix';
import type { HostPort } from './address.ts';
import type { Responder } from './handshake.ts';
import { HandshakeChannel } from './handshake-channel.ts';
import { socketChannel } from './socket-channel.ts';

/** Maximum number of concurrent handshakes. A further caller replaces the oldest one that has sent nothing. */
const MAX_CALLERS = 8;
/** Time limit for a caller's first message, ms. */
const SILENT_MS = 5_000;
const HANDSHAKE_MS = 30_000;
/** Time limit for a refused caller to read the refusal, ms. */
const PARTING_MS = 5_000;

/** The authenticated other end. */
export interface Peer {
  readonly channel: LiveChannel;
  /** 32 bytes, for one stream. The user of the stream wipes it. */
  readonly secret: Bytes;
  /** Its address, for display. */
  readonly address: string;
}

export interface ListenOptions {
  readonly at: HostPort;
  readonly responder: Responder;
  readonly signal?: AbortSignal;
  readonly logger?: Logger;
  /** Time limit for a caller's first message, ms. */
  readonly silentMs?: number;
  /** Called when a caller was refused. */
  readonly onRefused?: (address: string, error: MillraceError) => void;
}

export interface Listening {
  readonly port: number;
  /**
   * The first caller that authenticates. Later callers are refused. Rejects with E_STREAM_AUTH after too many attempts.
   */
  readonly peer: Promise<Peer>;
}

/** @throws {MillraceError} E_INPUT, E_CONFLICT if the address is in use */
export async function listenForPeer(options: ListenOptions): Promise<Listening> {
  const { at, responder, signal, logger = silentLogger, silentMs = SILENT_MS } = options;
  /** Callers in order of arrival. */
  const callers = new Map<Socket, { readonly handshake: HandshakeChannel; refused: boolean }>();
  const server = createServer({ allowHalfOpen: true });
  let settle: { resolve(peer: Peer): void; reject(error: unknown): void } | undefined;
  const peer = new Promise<Peer>((resolve, reject) => {
    settle = { resolve, reject };
  });
  peer.catch(() => undefined);

  const close = (keep?: Socket) => {
    settle = undefined;
    signal?.removeEventListener('abort', onAbort);
    server.close();
    for (const socket of callers.keys()) if (socket !== keep) socket.destroy();
  };
  const onAbort = () => {
    settle?.reject(new MillraceError('E_STREAM_STOPPED', 'listening was cancelled', { cause: signal?.reason }));
    close();
  };

  const shakeHands = async (socket: Socket) => {
    const address = `${socket.remoteAddress ?? '?'}:${socket.remotePort ?? 0}`;
    const handshake = new HandshakeChannel(socketChannel(socket));
    const caller = { handshake, refused: false };
    callers.set(socket, caller);
    const silent = setTimeout(() => !handshake.received && socket.destroy(), silentMs);
    const late = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
    try {
      const secret = await responder.respond(handshake);
      if (settle === undefined) return void socket.destroy(); // another caller was accepted first
      const { resolve } = settle;
      callers.delete(socket);
      close(socket);
      resolve({ channel: handshake.release(), secret, address });
    } catch (error) {
      const why = toMillraceError(error);
      logger.info({ err: why, address }, 'caller refused');
      options.onRefused?.(address, why);
      caller.refused = true;
      await handshake.refuse();
      setTimeout(() => socket.destroy(), PARTING_MS).unref();
      callers.delete(socket);
      if (!responder.exhausted || callers.size > 0) return;
      settle?.reject(new MillraceError('E_STREAM_AUTH', 'too many wrong codes; no caller was accepted'));
      close();
    } finally {
      clearTimeout(silent);
      clearTimeout(late);
    }
  };

  /** Drops the caller that has been idle longest, so that idle connections cannot block the legitimate caller. */
  const dropIdleCaller = () => {
    const all = [...callers];
    const [socket] = all.find(([, { handshake, refused }]) => refused || !handshake.received) ?? all[0] ?? [];
    if (socket === undefined) return;
    callers.delete(socket);
    socket.destroy();
  };

  server.on('connection', (socket) => {
    socket.on('error', () => undefined); // reported by the socket's channel
    if (settle === undefined) return void socket.destroy();
    if (callers.size >= MAX_CALLERS) dropIdleCaller();
    void shakeHands(socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new MillraceError('E_CONFLICT', `cannot listen at ${at.host ?? ''}:${at.port}`, { cause }));
    });
    server.listen({ port: at.port, ...(at.host === undefined ? {} : { host: at.host }) }, resolve);
  });
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();
  const address = server.address();
  if (address === null || typeof address === 'string') return { port: at.port, peer };
  return { port: address.port, peer };
}
