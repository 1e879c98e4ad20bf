import { randomBytes } from 'node:crypto';
import { connect, createServer, type Socket } from 'node:net';
import { type Bytes, concatBytes } from '@millrace/base';
import { expect } from 'vitest';
import type { Caller, Peer, Responder, Sink } from '../src/index.ts';
import { connectToPeer, type ListenOptions, listenForPeer } from '../src/index.ts';

export const random = (length: number): Bytes => new Uint8Array(randomBytes(length));

export const code = (name: string) => expect.objectContaining({ code: name });

export const here = (port: number) => ({ host: '127.0.0.1', port });

export function listen(responder: Responder, more: Partial<ListenOptions> = {}) {
  return listenForPeer({ at: here(0), responder, ...more });
}

/** Both ends of an authenticated connection. */
export async function meet(responder: Responder, caller: Caller): Promise<{ sender: Peer; receiver: Peer }> {
  const listening = await listen(responder);
  const sender = await connectToPeer({ to: here(listening.port), caller });
  return { sender, receiver: await listening.peer };
}

export interface MemorySink extends Sink {
  readonly kept: Bytes | undefined;
  readonly discarded: boolean;
}

export function memorySink(write: (chunk: Uint8Array) => Promise<void> = async () => undefined): MemorySink {
  const parts: Uint8Array[] = [];
  const sink = {
    kept: undefined as Bytes | undefined,
    discarded: false,
    write: async (chunk: Uint8Array) => {
      await write(chunk);
      parts.push(new Uint8Array(chunk));
    },
    commit: async () => {
      sink.kept = concatBytes(...parts);
    },
    discard: async () => {
      sink.discarded = true;
    },
  };
  return sink;
}

export async function* inPieces(data: Uint8Array, piece: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += piece) yield data.subarray(at, at + piece);
}

/**
 * A proxy between a caller and a port.
 * @param pass what is forwarded for each piece: the piece, another one, or nothing ('cut' ends both connections)
 */
export async function between(
  port: number,
  pass: (piece: Buffer, from: 'caller' | 'listener') => Buffer | 'cut' | undefined,
): Promise<{ port: number; close(): void }> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    for (const [from, to, who] of [
      [near, far, 'caller'],
      [far, near, 'listener'],
    ] as const) {
      sockets.add(from);
      from.on('error', () => undefined);
      from.on('data', (piece) => {
        const passed = pass(piece, who);
        if (passed === 'cut') for (const socket of [near, far]) socket.destroy();
        else if (passed !== undefined && !to.destroyed) to.write(passed);
      });
      from.on('end', () => to.end());
      from.on('close', () => to.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    port: address.port,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
