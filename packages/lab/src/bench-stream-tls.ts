import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { systemClock } from '@millrace/base';
import { createAuthority } from '@millrace/identity';

const CHUNK = 16_386;

export interface TlsPair {
  /** Sends bytes from one end to the other. Resolves when all have arrived. */
  send(bytes: number): Promise<void>;
  /** Bytes that one end writes to its socket for `content` bytes of content, including TLS records. */
  written(): { readonly content: number; readonly wire: number };
  close(): void;
}

/** Both ends of one TLS 1.3 connection over the loopback interface, in this process. */
export async function openTlsPair(): Promise<TlsPair> {
  const authority = await createAuthority('bench', systemClock.now());
  const { certificate, key } = await authority.issue({ role: 'control', id: 'control-1' }, ['127.0.0.1']);
  const server = createServer({ cert: certificate, key: Buffer.from(key), minVersion: 'TLSv1.3' });
  const accepted = new Promise<TLSSocket>((resolve) => server.once('secureConnection', resolve));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = connect({ port, host: '127.0.0.1', ca: authority.identity.certificate, minVersion: 'TLSv1.3' });
  await once(client, 'secureConnect');
  const receiving = await accepted;
  let received = 0;
  let arrived: () => void = () => undefined;
  receiving.on('data', (data: Buffer) => {
    received += data.length;
    arrived();
  });
  let content = 0;
  return {
    send: async (bytes) => {
      const until = received + bytes;
      const chunk = randomBytes(CHUNK);
      for (let left = bytes; left > 0; left -= CHUNK) {
        const part = left < CHUNK ? chunk.subarray(0, left) : chunk;
        content += part.length;
        if (!client.write(part)) await once(client, 'drain');
      }
      while (received < until) {
        await new Promise<void>((resolve) => {
          arrived = resolve;
        });
      }
    },
    written: () => ({ content, wire: client.bytesWritten }),
    close: () => {
      client.destroy();
      receiving.destroy();
      server.close();
    },
  };
}
