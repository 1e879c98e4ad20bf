import type { Server } from 'node:http';
import type { Server as TlsListener } from 'node:tls';
import { type Closable, type Logger, type Metrics, MillraceError } from '@millrace/base';
import type { ConsoleFile } from '@millrace/console';
import type { TlsIdentity } from '@millrace/identity';
import {
  type Address,
  type ConnectionLimits,
  limitConnections,
  type PublicAnswer,
  timeoutsOf,
} from '@millrace/protocol';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { frameworkErrors, listen, setUp } from '../../node/server.ts';
import { Site, securityHeaders } from './site.ts';

export interface ConsoleServerOptions {
  readonly address: Address;
  /** Without it, the server uses HTTP. */
  readonly tls?: TlsIdentity | undefined;
  /** Address that people open; undefined for http://localhost with the listener's port. */
  readonly origin?: string | undefined;
  readonly files: readonly ConsoleFile[];
  readonly limits?: Partial<ConnectionLimits>;
  readonly logger: Logger;
  /** Requests and refusals are counted by route. */
  readonly metrics?: Metrics;
  /** Mounts the API. */
  readonly mount: (server: FastifyInstance, origin: () => string) => void;
  /** The public ledger, for its paths; undefined if it is switched off. */
  readonly ledger: ((request: Pick<FastifyRequest, 'headers'> & { path: string }) => Promise<PublicAnswer>) | undefined;
}

export interface ConsoleServer extends Closable {
  readonly origin: string;
  renewTls(tls: TlsIdentity): void;
  close(): Promise<void>;
}

/**
 * Limits for callers who are strangers until they have signed in. A browser uses up to six connections, and the browsers
 * of a company may share one address.
 */
const consoleLimits: ConnectionLimits = {
  connections: 256,
  connectionsPerAddress: 128,
  headersMs: 10_000,
  transferMs: 60_000,
  idleMs: 15_000,
};

const reads = ['GET', 'HEAD'];

/**
 * Serves the web application, its API and the public ledger to browsers. Requests for another host are refused, so that
 * a web page elsewhere cannot read the console through a name that it has pointed at this server (DNS rebinding).
 * @throws {MillraceError} E_UNAVAILABLE if the address is taken
 */
export async function serveConsole(options: ConsoleServerOptions): Promise<ConsoleServer> {
  const { address, tls, logger, ledger } = options;
  const site = new Site(options.files);
  const limits = {
    ...consoleLimits,
    // Without TLS, every caller is on this computer, or comes through a proxy there.
    ...(tls === undefined && { connectionsPerAddress: consoleLimits.connections }),
    ...options.limits,
  };
  const timeouts = timeoutsOf(limits);
  const server = fastify({
    ...(tls === undefined ? { http: timeouts } : { https: { ...timeouts, ...secureContext(tls) } }),
    bodyLimit: 64 * 1024 * 1024,
    requestTimeout: limits.transferMs,
    keepAliveTimeout: limits.idleMs,
    forceCloseConnections: true,
    frameworkErrors,
  }) as unknown as FastifyInstance;
  const http = server.server as Server;
  limitConnections(http, limits);
  setUp(server, logger, options.metrics, 'console');
  let origin = options.origin ?? '';
  server.addHook('onRequest', async (request, reply) => {
    reply.headers({ ...securityHeaders, 'cache-control': 'no-store' });
    requireOwnOrigin(request, origin);
    if (!request.is404) return;
    // Without a route, nobody has limited the body: it is not read.
    reply.header('connection', 'close');
    throw new MillraceError('E_NOT_FOUND', 'there is no such path');
  });
  options.mount(server, () => origin);
  const answer = async (request: FastifyRequest, reply: FastifyReply) => {
    const path = request.url.split('?', 1)[0] ?? '';
    const sent = await site.send(path, request, reply);
    if (sent !== undefined) return sent;
    const { status, type, body, headers } = await (ledger?.({ path, headers: request.headers }) ??
      Promise.reject(new MillraceError('E_NOT_FOUND', 'there is no such path')));
    return reply
      .code(status)
      .headers(headers ?? {})
      .type(type)
      .send(status === 304 ? undefined : Buffer.from(body));
  };
  server.route({ method: 'GET', url: '/*', handler: answer });
  const listening = await listen(server, address);
  const bound = http.address();
  const port = typeof bound === 'object' && bound !== null ? bound.port : address.port;
  if (origin === '') origin = `${tls === undefined ? 'http' : 'https'}://localhost:${port}`;
  return {
    origin,
    renewTls: (renewed) => (http as unknown as TlsListener).setSecureContext(secureContext(renewed)),
    close: async () => listening.close(),
  };
}

function secureContext({ certificate, key }: TlsIdentity) {
  return { cert: certificate, key: Buffer.from(key), minVersion: 'TLSv1.3' as const };
}

/**
 * Everything has to be asked for by the console's own name, and every change by the console's own pages: a page of
 * another site cannot make a browser send its cookie along (cross-site request forgery).
 * @throws {MillraceError} E_AUTH
 */
function requireOwnOrigin({ method, headers }: FastifyRequest, origin: string): void {
  if (headers.host !== new URL(origin).host)
    throw new MillraceError('E_AUTH', `this is not the console’s name: open ${origin}`);
  if (reads.includes(method)) return;
  if (headers.origin !== origin) throw new MillraceError('E_AUTH', 'the request comes from a page of another site');
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin')
    throw new MillraceError('E_AUTH', 'the request comes from a page of another site');
}
