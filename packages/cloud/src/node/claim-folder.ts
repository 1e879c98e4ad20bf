import { createHash } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Closable } from '@millrace/base';

/**
 * Tells other processes of this computer that a node's folder is in use, by a socket with a name in the kernel, which
 * ends with the process. Other systems than Linux have no such names: nothing is claimed there.
 * @returns undefined if another process has claimed the folder
 */
export async function claimFolder(folder: string): Promise<Closable | undefined> {
  if (process.platform !== 'linux') return { close: async () => undefined };
  const name = createHash('sha256')
    .update(await realpath(folder))
    .digest('hex');
  const server = createServer((socket) => socket.destroy());
  server.unref();
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(undefined) : reject(error),
    );
    server.listen(`\0millrace/${name}`, () =>
      resolve({ close: () => new Promise((closed) => server.close(() => closed())) }),
    );
  });
}
