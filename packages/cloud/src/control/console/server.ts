import { type Closable, type Logger, type Metrics, MillraceError, type Tracer } from '@millrace/base';
import type { ConsoleFile } from '@millrace/console';
import type { TlsIdentity } from '@millrace/identity';
import type { Address, ConnectionLimits, PublicAnswer } from '@millrace/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { createBrowserServer } from '../../node/browser-server.ts';
import { wrongMethod } from '../../node/mount.ts';
import { Site, securityHeaders } from './site.ts';

export interface ConsoleServerOptions {
  readonly address: Address;
  /** Without it, the server uses HTTP. */
  readonly tls?: TlsIdentity | undefined;
  /** Address that people open; undefined for http://localhost with the listener's port. */
  readonly origin?: string | undefined;
  /** Origin to which pages upload: the only other one that they may call. */
  readonly uploads?: string | undefined;
  readonly files: readonly ConsoleFile[];
  readonly limits?: Partial<ConnectionLimits>;
  readonly logger: Logger;
  /** Requests and refusals are counted by route. */
  readonly metrics?: Metrics;
  readonly tracer?: Tracer;
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

const reads = ['GET', 'HEAD'];

const pathOf = ({ url }: FastifyRequest): string => url.split('?', 1)[0] ?? '';

/**
 * Serves the web application, its API and the public ledger to browsers. Requests for another host are refused, so that
 * a web page elsewhere cannot read the console through a name that it has pointed at this server (DNS rebinding).
 * @throws {MillraceError} E_UNAVAILABLE if the address is taken
 */
export async function serveConsole(options: ConsoleServerOptions): Promise<ConsoleServer> {
  const { ledger, uploads, files, mount, ...listener } = options;
  const site = new Site(files);
  const browsers = createBrowserServer({ ...listener, name: 'console', bodyLimit: 64 * 1024 * 1024 });
  const { server, origin } = browsers;
  const secure = securityHeaders(uploads);
  const exists = async (path: string) =>
    site.has(path) ||
    (await ledger?.({ path, headers: {} }).then(
      ({ status }) => status < 400,
      () => false,
    ));
  server.addHook('onRequest', async (request, reply) => {
    reply.headers({ ...secure, 'cache-control': 'no-store' });
    requireOwnOrigin(request, origin());
    if (!request.is404) return;
    // Without a route, nobody has limited the body: it is not read.
    reply.header('connection', 'close');
    if (await exists(pathOf(request))) throw wrongMethod(request, reply, reads);
    throw new MillraceError('E_NOT_FOUND', 'there is no such path');
  });
  mount(server, origin);
  const answer = async (request: FastifyRequest, reply: FastifyReply) => {
    const path = pathOf(request);
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
  await browsers.listen();
  return { origin: origin(), renewTls: browsers.renewTls, close: browsers.close };
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
