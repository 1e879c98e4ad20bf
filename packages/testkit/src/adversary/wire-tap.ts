import { connect, createServer, type Socket } from 'node:net';
import { type Bytes, copyBytes } from '@millrace/base';
import type { Address } from '@millrace/protocol';

/** An attacker on the cable, who reads every byte and may alter, delay or cut the connection. */
export interface WireTap {
  readonly address: Address;
  /** All transferred chunks, in both directions. */
  readonly seen: readonly Bytes[];
  /** Returns the replacement of a chunk; undefined cuts the connection. */
  meddle: (piece: Bytes, towards: 'node' | 'client') => Bytes | undefined;
  close(): Promise<void>;
}

export async function tapWire(target: Address): Promise<WireTap> {
  const seen: Bytes[] = [];
  const open = new Set<Socket>();
  const server = createServer((inner) => {
    const outer = connect(target.port, target.host);
    const ends = [inner, outer] as const;
    for (const socket of ends) {
      open.add(socket);
      socket.on('error', () => undefined); // 'close' follows
      socket.on('close', () => {
        for (const end of ends) end.destroy();
        open.delete(socket);
      });
    }
    const pass = (from: Socket, to: Socket, towards: 'node' | 'client') =>
      from.on('data', (data: Buffer) => {
        const piece = copyBytes(data);
        seen.push(piece);
        const passed = tap.meddle(piece, towards);
        if (passed === undefined) from.destroy();
        else to.write(passed);
      });
    pass(inner, outer, 'node');
    pass(outer, inner, 'client');
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('no address');
  const tap: WireTap = {
    address: { host: '127.0.0.1', port: bound.port },
    seen,
    meddle: (piece) => piece,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of open) socket.destroy();
      }),
  };
  return tap;
}
