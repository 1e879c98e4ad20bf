import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIP } from 'node:net';
import { type Clock, type Closable, type Logger, MillraceError, toMillraceError } from '@millrace/base';
import type { Address } from '@millrace/protocol';
import type { SiteMachine } from '../site.ts';
import { contentPolicy, pageOf } from './html.ts';
import { viewOf } from './view.ts';

/** Where the page is by default. */
export const PAGE: Address = { host: '127.0.0.1', port: 7_680 };

const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]'];

export interface LocalPage extends Closable {
  readonly address: Address;
  close(): Promise<void>;
}

/**
 * Serves the page about the machines of this site. It shows and changes nothing else: there is one path and no input.
 * Requests that name another host are refused, so that a web page elsewhere cannot read it through a name that it has
 * pointed at this computer (DNS rebinding).
 * @throws {MillraceError} E_UNAVAILABLE if the address is taken
 */
export async function servePage(
  address: Address,
  machines: () => readonly SiteMachine[],
  { clock, logger }: { readonly clock: Clock; readonly logger: Logger },
): Promise<LocalPage> {
  const server = createServer({ maxHeaderSize: 8_192, requestTimeout: 10_000 });
  server.maxConnections = 64;
  await listen(server, address);
  const { port } = server.address() as AddressInfo;
  // Otherwise a connection that cannot be accepted would end the agent.
  server.on('error', (error) => logger.warn({ err: toMillraceError(error) }, 'a connection to the local page failed'));
  if (!isLocal(address))
    logger.warn(
      { host: address.host, port },
      'the local page can be reached from other computers: it shows pairing codes and has no password',
    );
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const answer = (status: number, type: string, body: string) => {
      response.writeHead(status, { ...headers, 'content-type': `${type}; charset=utf-8` });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    try {
      if (!isNameOf({ host: address.host, port }, request.headers.host))
        return answer(421, 'text/plain', 'not the name of this page\n');
      if (request.method !== 'GET' && request.method !== 'HEAD') return answer(405, 'text/plain', 'only GET\n');
      if (request.url !== '/') return answer(404, 'text/plain', 'no such path\n');
      const now = clock.now();
      const views = machines().map((machine) => viewOf(machine, now));
      answer(200, 'text/html', pageOf(views, new Date(now).toLocaleTimeString('en-GB')));
    } catch (error) {
      logger.error({ err: toMillraceError(error) }, 'cannot write the local page');
      answer(500, 'text/plain', 'the page cannot be shown: see the log\n');
    }
  });
  return {
    address: { host: address.host, port },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const headers = {
  'content-security-policy': contentPolicy,
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
} as const;

const isLocal = ({ host }: Address): boolean => ['127.0.0.1', '::1', 'localhost'].includes(host);

/**
 * Whether the Host of a request means this page. For other computers, the page has the addresses of this one. A name that
 * an attacker controls is never an address.
 */
export function isNameOf({ host, port }: Address, named = ''): boolean {
  // Without a port, it is that of HTTP (RFC 9110, section 4.2.1).
  const [, name = '', namedPort = '80'] = /^(\[[0-9a-f:.]+\]|[^:[\]]+)(?::(\d+))?$/i.exec(named) ?? [];
  if (namedPort !== String(port)) return false;
  if ([...LOOPBACK, bracketed(host)].includes(name)) return true;
  return !isLocal({ host, port }) && isIP(name.replace(/^\[|\]$/g, '')) !== 0;
}

const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);

function listen(server: Server, { host, port }: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    const refused = (cause: Error) =>
      reject(new MillraceError('E_UNAVAILABLE', `the local page cannot listen on ${host}:${port}`, { cause }));
    server.once('error', refused);
    server.listen(port, host, () => {
      server.off('error', refused);
      resolve();
    });
  });
}
