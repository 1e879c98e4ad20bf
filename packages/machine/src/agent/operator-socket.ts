import { chmod, rename, rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { type Closable, type Logger, MillraceError, parse, systemRandom, toHex, toMillraceError } from '@millrace/base';
import { type OperatorRequest, type OperatorStatus, operatorRequest, SOCKET } from './operator-messages.ts';

/** Longest path of a socket that every system takes. */
const MAX_PATH = 100;
const MAX_CONNECTIONS = 64;
/** Bytes of a line. */
const MAX_REQUEST = 4_096;
const REQUEST_MS = 10_000;

/**
 * Takes commands of the operator at a socket in the agent's folder. Whoever may write to the folder may command the
 * machine; there is no other way in.
 * @throws {MillraceError} E_STATE if another agent works in this folder; E_STORE
 */
export async function serveOperator(
  folder: string,
  command: (request: OperatorRequest) => Promise<OperatorStatus>,
  logger: Logger,
): Promise<Closable> {
  const path = join(folder, SOCKET);
  if (Buffer.byteLength(path) > MAX_PATH || process.platform === 'win32') {
    logger.warn({ path }, 'no commands at the machine: its folder cannot have a socket, or its path is too long');
    return { close: async () => undefined };
  }
  await removeStale(folder, path);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    void answer(socket, command);
  });
  server.maxConnections = MAX_CONNECTIONS;
  await listen(server, folder, path);
  // Otherwise a connection that cannot be accepted would end the agent.
  server.on('error', (error) => logger.warn({ err: toMillraceError(error) }, 'a connection of the operator failed'));
  await chmod(path, 0o600);
  return {
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/**
 * Removes the socket of an agent that was killed. It is moved first: another agent that starts at the same time may have
 * replaced it by its own.
 * @throws {MillraceError} E_STATE
 */
async function removeStale(folder: string, path: string): Promise<void> {
  if (await isServed(path)) throw occupied(folder);
  const aside = join(folder, `${toHex(systemRandom(4))}.sock`);
  try {
    await rename(path, aside);
  } catch {
    return; // there is none
  }
  if (await isServed(aside)) {
    await rename(aside, path);
    throw occupied(folder);
  }
  await rm(aside, { force: true });
}

/** Whether a process listens at the socket. */
function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', ({ code }: NodeJS.ErrnoException) =>
      resolve(!['ENOENT', 'ECONNREFUSED', 'ENOTSOCK'].includes(code ?? '')),
    );
  });
}

function occupied(folder: string): MillraceError {
  return new MillraceError('E_STATE', `another agent works in ${folder}: stop it first`);
}

/** From its creation on, the socket is for this user only. */
function listen(server: Server, folder: string, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const refused = (cause: NodeJS.ErrnoException) =>
      reject(
        cause.code === 'EADDRINUSE' ? occupied(folder) : new MillraceError('E_STORE', `cannot open ${path}`, { cause }),
      );
    server.once('error', refused);
    const mask = process.umask(0o077);
    try {
      // Creates the socket before it returns.
      server.listen(path, () => {
        server.off('error', refused);
        resolve();
      });
    } finally {
      process.umask(mask);
    }
  });
}

async function answer(socket: Socket, command: (request: OperatorRequest) => Promise<OperatorStatus>): Promise<void> {
  let reply: object;
  try {
    reply = { status: await command(parse(operatorRequest, await lineOf(socket), 'command')) };
  } catch (cause) {
    const { code, message } = toMillraceError(cause);
    reply = { error: { code, message } };
  }
  // Whatever else the other end sends or keeps open, this was all.
  socket.write(`${JSON.stringify(reply)}\n`);
  socket.destroySoon();
}

/**
 * The JSON of one line. Reads no further.
 * @param ms time until the line has ended
 * @throws {MillraceError} E_INPUT
 */
export function lineOf(socket: Socket, { ms = REQUEST_MS }: { readonly ms?: number } = {}): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let length = 0;
    const settle = (settling: () => void) => {
      clearTimeout(timer);
      socket.off('data', take);
      socket.pause();
      settling();
    };
    const fail = (message: string, cause?: unknown) =>
      settle(() => reject(new MillraceError('E_INPUT', message, { cause })));
    const timer = setTimeout(() => fail('no line came in time'), ms);
    const take = (bytes: Buffer) => {
      parts.push(bytes);
      length += bytes.length;
      const end = bytes.indexOf(10);
      if ((end < 0 ? length : length - bytes.length + end) > MAX_REQUEST) return fail('the line is too long');
      if (end < 0) return;
      const [line = ''] = Buffer.concat(parts).toString('utf8').split('\n', 1);
      try {
        const value: unknown = JSON.parse(line);
        settle(() => resolve(value));
      } catch (cause) {
        fail('not a line of JSON', cause);
      }
    };
    socket.on('error', (cause) => fail('the connection has ended', cause));
    socket.on('close', () => fail('the connection has ended'));
    socket.on('data', take);
  });
}
