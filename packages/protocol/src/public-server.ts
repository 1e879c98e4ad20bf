import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { Server as TlsListener } from 'node:tls';
import {
  type Bytes,
  type Closable,
  concatBytes,
  type Logger,
  MillraceError,
  PROBLEM_TYPE,
  problemOf,
  toMillraceError,
  utf8,
} from '@millrace/base';
import type { TlsIdentity } from '@millrace/identity';
import type { Address } from './directory.ts';

/** One anonymous request. The path has no query. */
export interface PublicRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  /** Empty for GET. */
  readonly body: Bytes;
}

export interface PublicAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface ConnectionLimits {
  /** Maximum number of open connections in total, and per address. */
  readonly connections: number;
  readonly connectionsPerAddress: number;
  /** Timeout of the TLS handshake and of the headers. */
  readonly headersMs: number;
  /** Timeout of the whole request. */
  readonly transferMs: number;
  /** Timeout of an idle connection. */
  readonly idleMs: number;
}

/** The timeout `transferMs` is also that of the whole answer. */
export interface PublicLimits extends ConnectionLimits {
  /** Maximum number of answers computed at a time. Further requests are answered with 503. */
  readonly answersAtOnce: number;
}

export const publicLimits: PublicLimits = {
  connections: 256,
  connectionsPerAddress: 32,
  answersAtOnce: 16,
  headersMs: 10_000,
  transferMs: 60_000,
  idleMs: 15_000,
};

export interface PublicServerOptions {
  /** Port 0 selects a free port. */
  readonly address: Address;
  /** Without it, the server uses HTTP. */
  readonly tls?: TlsIdentity | undefined;
  /** GET includes HEAD. All other methods are refused. */
  readonly methods: readonly PublicRequest['method'][];
  /** Maximum length of the body of a POST, bytes. */
  readonly bodyLimit?: number;
  readonly limits?: Partial<PublicLimits>;
  readonly logger: Logger;
  /** Errors become problem documents. */
  answer(request: PublicRequest): Promise<PublicAnswer>;
}

export interface PublicServer extends Closable {
  readonly address: Address;
  /** Sets the certificate for new connections. */
  renewTls(tls: TlsIdentity): void;
  close(): Promise<void>;
}

const MAX_HEADERS = 8 * 1024;
const MAX_PATH = 300;

/**
 * A server for anonymous clients. It requests no client certificate, so it limits the number, size and duration of
 * connections, requests and answers.
 * @throws {MillraceError} E_UNAVAILABLE if the address is in use
 */
export async function listenToStrangers(options: PublicServerOptions): Promise<PublicServer> {
  const limits = { ...publicLimits, ...options.limits };
  const settings = { maxHeaderSize: MAX_HEADERS, ...timeoutsOf(limits) };
  const { tls } = options;
  const server =
    tls === undefined ? createHttpServer(settings) : createHttpsServer({ ...settings, ...secureContext(tls) });
  limitConnections(server, limits);
  const answering = { now: 0, most: limits.answersAtOnce };
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const deadline = setTimeout(() => response.destroy(), limits.transferMs);
    response.once('close', () => clearTimeout(deadline));
    void answerTo(request, options, answering).then((answer) => send(request, response, answer));
  });
  await listen(server, options.address);
  const bound = server.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : options.address.port;
  return {
    address: { host: options.address.host, port },
    renewTls: (renewed) => (server as unknown as TlsListener).setSecureContext(secureContext(renewed)),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function secureContext({ certificate, key }: TlsIdentity) {
  return { cert: certificate, key: Buffer.from(key), minVersion: 'TLSv1.3' as const };
}

/** Options of Node's HTTP and HTTPS servers. */
export function timeoutsOf({ headersMs, transferMs, idleMs }: ConnectionLimits) {
  return {
    handshakeTimeout: headersMs,
    headersTimeout: headersMs,
    requestTimeout: transferMs,
    keepAliveTimeout: idleMs,
    connectionsCheckingInterval: Math.min(headersMs, 5_000),
  };
}

/** Limits the number of connections, in total and per address, and closes silent ones. */
export function limitConnections(server: Server, limits: ConnectionLimits): void {
  const { connections, connectionsPerAddress, headersMs, transferMs } = limits;
  server.maxConnections = connections;
  const open = new Map<string, number>();
  server.on('connection', (socket: Socket) => {
    const from = socket.remoteAddress ?? '';
    const count = (open.get(from) ?? 0) + 1;
    open.set(from, count);
    socket.once('close', () => {
      const left = (open.get(from) ?? 1) - 1;
      if (left === 0) open.delete(from);
      else open.set(from, left);
    });
    if (count > connectionsPerAddress) return void socket.destroy();
    // Node applies no timeout before the first request, so close a silent connection here.
    socket.setTimeout(headersMs + transferMs, () => socket.destroy());
  });
}

async function answerTo(
  request: IncomingMessage,
  options: PublicServerOptions,
  answering: { now: number; readonly most: number },
): Promise<PublicAnswer> {
  try {
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    if (!options.methods.some((allowed) => allowed === method)) {
      const allow = options.methods.flatMap((name) => (name === 'GET' ? ['GET', 'HEAD'] : [name])).join(', ');
      const refused = new MillraceError('E_METHOD', `only ${allow}`);
      return { ...problem(refused), headers: { allow } };
    }
    const path = request.url ?? '';
    if (path.length > MAX_PATH || !path.startsWith('/'))
      throw new MillraceError('E_NOT_FOUND', 'there is no such path');
    const body = method === 'POST' ? await readBody(request, options.bodyLimit ?? 0) : new Uint8Array();
    // Slow senders and slow readers do not occupy these places.
    if (answering.now >= answering.most) {
      const busy = new MillraceError('E_UNAVAILABLE', 'too many requests at a time');
      return { ...problem(busy), headers: { 'retry-after': '1' } };
    }
    answering.now += 1;
    try {
      return await options.answer({ method: method as PublicRequest['method'], path, headers: request.headers, body });
    } finally {
      answering.now -= 1;
    }
  } catch (error) {
    const coded = toMillraceError(error);
    if (coded.http < 500) return problem(coded);
    options.logger.error({ err: coded, path: request.url }, 'request of a stranger failed');
    return problem(new MillraceError('E_INTERNAL', 'a fault in the node; its log says more'));
  }
}

async function readBody(request: IncomingMessage, limit: number): Promise<Bytes> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > limit) throw new MillraceError('E_TOO_LARGE', `the body has more than ${limit} bytes`);
    chunks.push(chunk);
  }
  return concatBytes(...chunks);
}

function problem(error: MillraceError): PublicAnswer {
  const body = utf8(JSON.stringify(problemOf(error)));
  return { status: error.http, type: PROBLEM_TYPE, body, headers: { 'cache-control': 'no-store' } };
}

function send(request: IncomingMessage, response: ServerResponse, answer: PublicAnswer): void {
  const { status, type, body, headers } = answer;
  // Node would parse the unread rest of a body as the next request.
  const unread = !request.complete;
  response.writeHead(status, {
    'content-type': type,
    'content-length': body.length,
    'x-content-type-options': 'nosniff',
    ...(unread ? { connection: 'close' } : {}),
    ...headers,
  });
  response.end(request.method === 'HEAD' || status === 304 ? undefined : body);
}

function listen(server: Server, { host, port }: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new MillraceError('E_UNAVAILABLE', `cannot listen on ${host}:${port}`, { cause })),
    );
    server.listen({ host, port }, resolve);
  });
}
