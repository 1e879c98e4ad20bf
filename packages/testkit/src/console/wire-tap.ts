import { connect, createServer, type Socket } from 'node:net';
import type { Closable } from '@millrace/base';
import type { Address } from '@millrace/protocol';

/** Passes the bytes of a listener on, keeps what callers send, and can cut. */
export interface WireTap extends Closable {
  readonly address: Address;
  /** Everything that callers have sent. */
  sent(): Buffer;
  /** Holds back what callers send once they have sent this many bytes more, until the next `hold` or `cut`. */
  hold(after: number): void;
  /** Whether bytes are held back now. */
  isHolding(): boolean;
  /** Ends all connections, and refuses new ones until `mend`. */
  cut(): void;
  mend(): void;
}

export async function createWireTap(target: Address): Promise<WireTap> {
  const chunks: Buffer[] = [];
  const open = new Set<Socket>();
  let [left, isCut] = [Number.POSITIVE_INFINITY, false];
  const server = createServer((inner) => {
    if (isCut) return void inner.destroy();
    const outer = connect(target.port, target.host);
    const end = () => {
      for (const socket of [inner, outer]) {
        open.delete(socket);
        socket.destroy();
      }
    };
    for (const socket of [inner, outer]) {
      open.add(socket);
      socket.on('error', () => undefined); // 'close' follows
      socket.on('close', end);
    }
    inner.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      left -= chunk.length;
      if (left > 0) outer.write(chunk);
      else inner.pause();
    });
    outer.pipe(inner);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('no address');
  const drop = () => {
    for (const socket of open) socket.destroy();
  };
  return {
    address: { host: '127.0.0.1', port: bound.port },
    sent: () => Buffer.concat(chunks),
    hold: (after) => {
      left = after;
    },
    isHolding: () => left <= 0,
    cut: () => {
      isCut = true;
      left = Number.POSITIVE_INFINITY;
      drop();
    },
    mend: () => {
      isCut = false;
    },
    close: () => {
      drop();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
