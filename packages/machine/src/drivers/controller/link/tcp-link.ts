import { connect } from 'node:net';
import { MillraceError } from '@millrace/base';
import type { Link, LinkEvents } from './link.ts';

const CONNECT_MS = 5_000;

/** A controller behind a socket, such as ser2net or a controller with Ethernet. */
export function openTcpLink(port: string, { bytes, lost }: LinkEvents): Promise<Link> {
  const { hostname, port: number } = new URL(port);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(number), noDelay: true });
    let state: 'opening' | 'open' | 'closed' = 'opening';
    const failed = (cause?: Error) => {
      socket.destroy();
      if (state === 'opening')
        reject(
          new MillraceError('E_MACHINE', `no controller answers at ${port}`, cause === undefined ? {} : { cause }),
        );
      else if (state === 'open') lost();
      state = 'closed';
    };
    socket.setTimeout(CONNECT_MS, () => {
      if (state === 'opening') failed();
    });
    socket.on('error', failed).on('close', () => failed());
    socket.on('data', (data) => {
      if (state === 'open') bytes(data);
    });
    socket.on('connect', () => {
      state = 'open';
      resolve({
        write: (content) => {
          const copy = Buffer.from(content);
          socket.write(copy, () => copy.fill(0));
        },
        reset: async () => undefined,
        close: async () => {
          state = 'closed';
          socket.destroy();
        },
      });
    });
  });
}
