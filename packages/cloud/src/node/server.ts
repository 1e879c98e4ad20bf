import type { X509Certificate } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { TLSSocket, Server as TlsListener } from 'node:tls';
import {
  type Closable,
  type Logger,
  type Metrics,
  MillraceError,
  noMetrics,
  noTracer,
  PROBLEM_TYPE,
  problemOf,
  type Tracer,
  toMillraceError,
} from '@millrace/base';
import { certificatesOf, isSignedBy, type Party, partyOf, type TlsIdentity } from '@millrace/identity';
import {
  type Address,
  type Directory,
  fingerprintsOf,
  GUEST_NAME,
  nodesOf,
  PROTOCOL_HEADER,
  protocolHeaders,
  requireNear,
  requireUnrevoked,
} from '@millrace/protocol';
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { spanOf, traceRequests } from './http-spans.ts';

export interface ServerOptions {
  readonly directory: Directory;
  readonly tls: TlsIdentity;
  readonly logger: Logger;
  /** Requests and refusals are counted by route. */
  readonly metrics?: Metrics;
  readonly tracer?: Tracer | undefined;
  /** Largest request body, bytes. */
  readonly bodyLimit: number;
  /**
   * Accepts callers without a certificate that request the server name `GUEST_NAME`. The policy decides what guests may
   * do.
   */
  readonly guests?: boolean;
  /** Also accepts certificates of the clouds that the directory recognises. The caller has to tell them apart. */
  readonly visitors?: boolean;
}

export type TlsServer = FastifyInstance;

/**
 * HTTPS server for parties of this installation only: mutual TLS 1.3, nodes pinned. It trusts the authorities that the
 * directory lists when the server is created, and again when `renewTls` is called.
 */
export function createTlsServer(options: ServerOptions): TlsServer {
  const server = fastify({
    https: { ...serverTls(options), rejectUnauthorized: options.guests !== true },
    bodyLimit: options.bodyLimit,
    forceCloseConnections: true,
    keepAliveTimeout: 60_000,
    frameworkErrors,
  }) as unknown as FastifyInstance;
  if (options.guests) admitGuests(server.server as unknown as TlsListener);
  // A caller that sends `Expect: 100-continue` learns at once that its body is too long.
  server.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    if (!(Number(request.headers['content-length']) > options.bodyLimit)) response.writeContinue();
    server.server.emit('request', request, response);
  });
  setUp(server, options.logger, options.metrics);
  server.addHook('onRequest', async (request, reply) => {
    reply.headers(protocolHeaders);
    requireKnownProtocol(request.headers, certificateOf(request));
  });
  traceRequests(server, options.tracer ?? noTracer, { parentOf: (request) => parentOf(options.directory, request) });
  return server;
}

/**
 * Closes every connection without a certificate of this installation before it is read. Exception: connections without
 * any certificate that request the guest name. (Node reports a resumed session without a certificate as authorized, so
 * check the certificate.)
 */
function admitGuests(listener: TlsListener): void {
  listener.prependListener('secureConnection', (socket: TLSSocket) => {
    const known = socket.getPeerX509Certificate() !== undefined && socket.authorized;
    const isGuest = socket.getPeerX509Certificate() === undefined && socket.servername === GUEST_NAME;
    if (!known && !isGuest) socket.destroy();
  });
}

/** Requests that fastify refuses before routing, such as a path that cannot be decoded. */
export function frameworkErrors(error: Error, _request: unknown, reply: unknown): void {
  void sendProblem(reply as FastifyReply, codedError(error));
}

/**
 * Body parsers, error answers and metrics.
 * @param listener name of the listener in the metrics, if the node has several with the same routes
 */
export function setUp(server: TlsServer, logger: Logger, metrics: Metrics = noMetrics, listener?: string): void {
  const of = listener === undefined ? {} : { listener };
  const answers = metrics.histogram('millrace_http_seconds', 'time from a request to its answer, by route and status');
  const refusals = metrics.counter(
    'millrace_http_refusals_total',
    'requests answered with an error, by route and code',
  );
  server.addHook('onResponse', async (request, reply) => {
    const labels = { ...routeOf(request), ...of, status: String(reply.statusCode) };
    answers.observe(reply.elapsedTime / 1_000, labels);
  });
  server.removeAllContentTypeParsers();
  server.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => {
    try {
      done(null, JSON.parse(String(body)));
    } catch {
      done(new MillraceError('E_INPUT', 'the body is not JSON'));
    }
  });
  server.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) => {
    done(null, new Uint8Array(body as Buffer));
  });
  server.setErrorHandler((error, request, reply) => {
    const coded = codedError(error);
    refusals.add(1, { ...routeOf(request), ...of, code: coded.code });
    spanOf(request)?.set({ code: coded.code });
    if (coded.code === 'E_INTERNAL') logger.error({ err: coded, path: request.url }, 'request failed: internal error');
    else logger.info({ code: coded.code, path: request.routeOptions.url, reason: coded.message }, 'request refused');
    const shown =
      coded.code === 'E_INTERNAL' ? new MillraceError('E_INTERNAL', 'internal error; see the node’s log') : coded;
    return sendProblem(reply, shown);
  });
  server.setNotFoundHandler((request) => {
    throw new MillraceError('E_NOT_FOUND', `no such path: ${request.method} ${request.url.split('?')[0]}`);
  });
}

/** The declared path, because a caller chooses the requested one. */
function routeOf({ method, routeOptions }: FastifyRequest) {
  return routeOptions.url === undefined ? { route: 'none' } : { route: `${method} ${routeOptions.url}` };
}

/** The span that a request continues: only nodes of this installation are believed. */
function parentOf(directory: Directory, request: FastifyRequest): string | undefined {
  const { traceparent } = request.headers;
  if (typeof traceparent !== 'string') return undefined;
  try {
    return 'id' in callerOf(directory, certificateOf(request)) ? traceparent : undefined;
  } catch {
    return undefined;
  }
}

/** Accepts new connections with the authorities that the directory lists now. */
export function renewTls(server: TlsServer, options: TlsSettings): void {
  const { requestCert: _, rejectUnauthorized: __, ...context } = serverTls(options);
  (server.server as unknown as TlsListener).setSecureContext(context);
}

export type TlsSettings = Pick<ServerOptions, 'directory' | 'tls' | 'visitors'>;

export function serverTls({ directory, tls, visitors = false }: TlsSettings) {
  const { authority, userAuthority, recognised = [] } = directory;
  const others = visitors ? recognised.map((cloud) => cloud.directory.authority) : [];
  return {
    ca: [authority, ...(userAuthority === undefined ? [] : [userAuthority]), ...others],
    cert: tls.certificate,
    key: Buffer.from(tls.key),
    minVersion: 'TLSv1.3' as const,
    requestCert: true,
    rejectUnauthorized: true,
  };
}

function sendProblem(reply: FastifyReply, error: MillraceError) {
  if (error.code === 'E_STANDBY') reply.header('retry-after', '1');
  return reply
    .code(error.http)
    .type(PROBLEM_TYPE)
    .send(JSON.stringify(problemOf(error)));
}

function codedError(error: unknown): MillraceError {
  // The caller can only ask again: the active control node answers then.
  if (error instanceof MillraceError && error.code === 'E_FENCED')
    return new MillraceError('E_UNAVAILABLE', 'this node is no longer the active one; ask again', { cause: error });
  if (error instanceof MillraceError) return error;
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined;
  if (status === 413) return new MillraceError('E_TOO_LARGE', 'the body is larger than its limit', { cause: error });
  if (typeof status === 'number' && status < 500) {
    return new MillraceError('E_INPUT', error instanceof Error ? error.message : 'not a valid request', {
      cause: error,
    });
  }
  return toMillraceError(error);
}

/**
 * Identifies the caller. A node is accepted only if the directory names it in this role and pins its certificate, a
 * user only if its key is not revoked. The certificate authority of users can identify only users.
 * @throws {MillraceError} E_AUTH, E_REVOKED
 */
export function callerOf(directory: Directory, certificate: X509Certificate | undefined): Party {
  const party = certificate && partyOf(certificate);
  if (certificate === undefined || party === undefined)
    throw new MillraceError('E_AUTH', 'the certificate names no party');
  if (!('name' in party)) {
    const seen = certificate.fingerprint256.replaceAll(':', '').toLowerCase();
    const node = nodesOf(directory, party.id).find(({ role }) => role === party.role);
    if (node === undefined || !fingerprintsOf(directory, node.id).includes(seen))
      throw new MillraceError('E_AUTH', `the directory does not name this ${party.role} node ${party.id}`, {
        data: { node: party.id },
      });
  }
  if (party.role === 'user') requireUnrevoked(directory, party.name);
  if (
    party.role === 'machine' &&
    directory.userAuthority !== undefined &&
    certificatesOf(directory.userAuthority).some((issuer) => isSignedBy(certificate, issuer))
  )
    throw new MillraceError('E_AUTH', 'the authority of users has issued a certificate to a machine');
  return party;
}

export function certificateOf(request: FastifyRequest): X509Certificate | undefined {
  return (request.raw.socket as TLSSocket).getPeerX509Certificate();
}

/**
 * Refuses a caller whose version is too far from this one. People's programs need not state theirs.
 * @throws {MillraceError} E_VERSION, E_INPUT
 */
export function requireKnownProtocol(headers: IncomingHttpHeaders, certificate: X509Certificate | undefined): void {
  const stated = headers[PROTOCOL_HEADER];
  const party = certificate && partyOf(certificate);
  if (stated === undefined && (party === undefined || party.role === 'user')) return;
  requireNear(stated, party === undefined ? 'the caller' : 'id' in party ? party.id : `the ${party.role}`);
}

/** Starts listening. The caller closes the result. @throws {MillraceError} E_UNAVAILABLE when the address is taken. */
export async function listen(server: TlsServer, address: Address): Promise<Closable> {
  try {
    await server.listen(address);
  } catch (cause) {
    throw new MillraceError('E_UNAVAILABLE', `cannot listen on ${address.host}:${address.port}`, { cause });
  }
  return { close: () => server.close() };
}
