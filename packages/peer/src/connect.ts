import { connect, type Socket } from 'node:net';
import { MillraceError } from '@millrace/base';
import type { HostPort } from './address.ts';
import type { Caller } from './handshake.ts';
import { HandshakeChannel } from './handshake-channel.ts';
import type { Peer } from './listen.ts';
import { socketChannel } from './socket-channel.ts';

const CONNECT_MS = 30_000;

/** @throws {MillraceError} E_UNAVAILABLE, E_STREAM_AUTH, E_STREAM_CUT, E_STREAM_STOPPED, E_FRAME_FORMAT */
export async function connectToPeer(options: { to: HostPort; caller: Caller; signal?: AbortSignal }): Promise<Peer> {
  const { to, caller, signal } = options;
  const socket = connect({ host: to.host ?? 'localhost', port: to.port, allowHalfOpen: true });
  socket.on('error', () => undefined); // reported by the socket's channel
  const stop = () => void socket.destroy();
  signal?.addEventListener('abort', stop, { once: true });
  if (signal?.aborted) stop();
  const late = setTimeout(stop, CONNECT_MS);
  try {
    await connected(socket, to);
    const handshake = new HandshakeChannel(socketChannel(socket));
    try {
      const secret = await caller.call(handshake);
      return { channel: handshake.release(), secret, address: `${to.host ?? 'localhost'}:${to.port}` };
    } catch (error) {
      await handshake.end();
      throw error;
    }
  } catch (error) {
    socket.destroy();
    if (signal?.aborted)
      throw new MillraceError('E_STREAM_STOPPED', 'the call was cancelled', { cause: signal.reason });
    throw error;
  } finally {
    clearTimeout(late);
    signal?.removeEventListener('abort', stop);
  }
}

function connected(socket: Socket, { host, port }: HostPort): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (cause?: unknown) =>
      reject(
        new MillraceError('E_UNAVAILABLE', `no answer from ${host ?? 'localhost'}:${port}`, {
          ...(cause instanceof Error ? { cause } : {}),
        }),
      );
    socket.once('connect', resolve);
    socket.once('error', fail);
    socket.once('close', fail);
  });
}
