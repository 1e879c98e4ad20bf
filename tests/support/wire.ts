import { connect, createServer, type Socket } from 'node:net';
import type { Address } from '@millrace/protocol';

/** A plain TCP proxy that counts what passes, TLS records and all. */
export interface CountingProxy {
  readonly address: Address;
  /** Towards the node, and back from it. */
  readonly up: number;
  readonly down: number;
  /** Cuts every connection that is open. */
  cut(): void;
  close(): Promise<void>;
}

export async function createCountingProxy(target: Address): Promise<CountingProxy> {
  const counts = { up: 0, down: 0 };
  const open = new Set<Socket>();
  const server = createServer((inner) => {
    const outer = connect(target.port, target.host);
    for (const socket of [inner, outer]) {
      open.add(socket);
      socket.setNoDelay(true);
      socket.on('close', () => {
        open.delete(socket);
        inner.destroy();
        outer.destroy();
      });
      socket.on('error', () => undefined); // 'close' follows
    }
    inner.on('data', (chunk: Buffer) => {
      counts.up += chunk.length;
    });
    outer.on('data', (chunk: Buffer) => {
      counts.down += chunk.length;
    });
    inner.pipe(outer);
    outer.pipe(inner);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('no address');
  const cut = () => {
    for (const socket of open) socket.destroy();
  };
  return {
    address: { host: '127.0.0.1', port: bound.port },
    get up() {
      return counts.up;
    },
    get down() {
      return counts.down;
    },
    cut,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        cut();
      }),
  };
}
