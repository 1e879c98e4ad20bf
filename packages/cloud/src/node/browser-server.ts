import type { Server } from 'node:http';
import { isIP } from 'node:net';
import type { Server as TlsListener } from 'node:tls';
import { type Closable, type Logger, type Metrics, MillraceError, noTracer, type Tracer } from '@millrace/base';
import type { TlsIdentity } from '@millrace/identity';
import { type Address, type ConnectionLimits, limitConnections, timeoutsOf } from '@millrace/protocol';
import { type FastifyInstance, fastify } from 'fastify';
import { traceRequests } from './http-spans.ts';
import { frameworkErrors, listen, setUp } from './server.ts';

// Listeners for browsers: the console’s, and distribution’s for uploads. Callers have no certificate.

export interface BrowserServerOptions {
  readonly address: Address;
  /** Without it, the server uses HTTP. */
  readonly tls?: TlsIdentity | undefined;
  /** Address that browsers use; undefined for http://localhost with the listener's port. */
  readonly origin?: string | undefined;
  /** Largest request body, bytes. */
  readonly bodyLimit: number;
  readonly limits?: Partial<ConnectionLimits> | undefined;
  readonly logger: Logger;
  readonly metrics?: Metrics | undefined;
  readonly tracer?: Tracer | undefined;
  /** Of the listener, for metrics. */
  readonly name: string;
}

export interface BrowserServer {
  /** Add hooks and routes before `listen`. */
  readonly server: FastifyInstance;
  /** Known when the server listens, if it is not in the options. */
  origin(): string;
  /** @throws {MillraceError} E_UNAVAILABLE if the address is taken */
  listen(): Promise<void>;
  renewTls(tls: TlsIdentity): void;
  close(): Promise<void>;
}

/**
 * Limits for callers who are strangers until they have proved who they are. A browser uses up to six connections, and
 * the browsers of a company may share one address.
 */
const browserLimits: ConnectionLimits = {
  connections: 256,
  connectionsPerAddress: 128,
  headersMs: 10_000,
  transferMs: 60_000,
  idleMs: 15_000,
};

export function createBrowserServer(options: BrowserServerOptions): BrowserServer {
  const { address, tls, bodyLimit, logger, metrics, name } = options;
  const limits = {
    ...browserLimits,
    // Without TLS, every caller is on this computer, or comes through a proxy there.
    ...(tls === undefined && { connectionsPerAddress: browserLimits.connections }),
    ...options.limits,
  };
  const timeouts = timeoutsOf(limits);
  const server = fastify({
    ...(tls === undefined ? { http: timeouts } : { https: { ...timeouts, ...secureContext(tls) } }),
    bodyLimit,
    requestTimeout: limits.transferMs,
    keepAliveTimeout: limits.idleMs,
    forceCloseConnections: true,
    frameworkErrors,
  }) as unknown as FastifyInstance;
  const http = server.server as Server;
  limitConnections(http, limits);
  setUp(server, logger, metrics, name);
  traceRequests(server, options.tracer ?? noTracer, { listener: name });
  let origin = options.origin ?? '';
  let listening: Closable | undefined;
  return {
    server,
    origin: () => origin,
    listen: async () => {
      listening = await listen(server, address);
      const bound = http.address();
      const port = typeof bound === 'object' && bound !== null ? bound.port : address.port;
      if (origin === '') origin = localOrigin({ port }, tls !== undefined);
    },
    renewTls: (renewed) => (http as unknown as TlsListener).setSecureContext(secureContext(renewed)),
    close: async () => listening?.close(),
  };
}

/** Browsers offer no passkeys for IP addresses. */
export function localOrigin({ port }: Pick<Address, 'port'>, secure = false): string {
  return `${secure ? 'https' : 'http'}://localhost:${port}`;
}

function secureContext({ certificate, key }: TlsIdentity) {
  return { cert: certificate, key: Buffer.from(key), minVersion: 'TLSv1.3' as const };
}

export interface BrowserListenerSettings {
  readonly origin?: string | undefined;
  readonly tls?: unknown;
}

/**
 * Cookies, passkeys and workers need TLS or a browser on this computer, and a host name.
 * @param name of the settings, for the errors
 * @throws {MillraceError} E_CONFIG
 */
export function requireSafe({ origin, tls }: BrowserListenerSettings, { host }: Address, name: string): void {
  const local = ['127.0.0.1', '::1', 'localhost'].includes(host);
  if (tls === undefined && !local)
    throw new MillraceError('E_CONFIG', `${name} listens for other computers: name a certificate (${name}.tls)`);
  if (origin === undefined) {
    if (!local) throw new MillraceError('E_CONFIG', `name the address that people open (${name}.origin)`);
    return;
  }
  const { protocol, hostname } = new URL(origin);
  if (isIP(hostname.replace(/^\[|\]$/g, '')) !== 0)
    throw new MillraceError('E_CONFIG', `${name}.origin needs a host name: browsers offer no passkeys for addresses`);
  if (protocol === 'http:' && hostname !== 'localhost')
    throw new MillraceError('E_CONFIG', `${name}.origin has to begin with https:// except for http://localhost`);
}
