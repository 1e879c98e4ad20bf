import { UPLOAD_HEADER, uploadListenerRoutes } from '@millrace/api';
import {
  type Clock,
  type Closable,
  Closer,
  fromBase64,
  type Logger,
  type Metrics,
  MillraceError,
  systemRandom,
  type Tracer,
} from '@millrace/base';
import { type Address, type ConnectionLimits, type Directory, openTlsFiles } from '@millrace/protocol';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { NodeConfig } from '../config.ts';
import { createBrowserServer, localOrigin, requireSafe } from '../node/browser-server.ts';
import { FailureLimit } from '../node/failure-limit.ts';
import type { IdempotentAnswers } from '../node/idempotency.ts';
import { mountRoutes } from '../node/mount.ts';
import { type Actor, guest, userActor } from '../node/policy.ts';
import { renewTlsFrom } from '../node/renew-tls.ts';
import type { Tickets } from './tickets.ts';
import { uploadHandlers } from './upload-handlers.ts';
import { UploadSessions } from './upload-sessions.ts';
import type { Uploads } from './uploads.ts';

/** Time for which a browser need not ask again whether it may send a request, s. */
const PREFLIGHT_S = 7_200;

export interface BrowserUploadsOptions {
  readonly config: Pick<NodeConfig, 'browsers'>;
  /** Address of the listener if the settings name none. */
  readonly address: Address | undefined;
  /** Address of the console, if it is on this computer. */
  readonly consoleAddress: Address | undefined;
  readonly directory: Directory;
  readonly uploads: Uploads;
  readonly tickets: Tickets;
  readonly answers: IdempotentAnswers;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly tracer?: Tracer;
  readonly limits?: Partial<ConnectionLimits>;
}

/**
 * Opens the listener to which browsers upload, unless the settings turn it off, or neither they nor the start of the
 * process name an address and the console's origin.
 * @throws {MillraceError} E_CONFIG for settings with which browsers could not be served safely
 */
export async function openBrowserUploads(
  options: BrowserUploadsOptions,
): Promise<Closable & { readonly origin?: string }> {
  const { config, address, consoleAddress, logger, metrics, limits } = options;
  const { listen = address, origin, tls } = config.browsers;
  const pages = config.browsers.console ?? (consoleAddress && localOrigin(consoleAddress));
  if (listen === undefined || listen === false || pages === undefined) return new Closer();
  requireSafe(config.browsers, listen, 'browsers');
  const closer = new Closer();
  try {
    const files = tls === undefined ? undefined : closer.add(await openTlsFiles(tls));
    const browsers = closer.add(
      createBrowserServer({
        ...{
          address: listen,
          origin,
          tls: files?.identity,
          name: 'browsers',
          bodyLimit: 64 * 1024,
          limits,
          logger,
          metrics,
          tracer: options.tracer,
        },
      }),
    );
    admitPages(browsers.server, browsers.origin, pages);
    mount(browsers.server, browsers.origin, options);
    await browsers.listen();
    if (files !== undefined) closer.add(renewTlsFrom(files, browsers.renewTls, logger));
    logger.info({ origin: browsers.origin(), console: pages }, 'browsers upload here');
    return { origin: browsers.origin(), close: () => closer.close() };
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/**
 * Only pages of the console may call, by this listener's own name. Browsers state where a page comes from, and give
 * answers only to pages of the origin that is named here (CORS). There are no cookies.
 */
function admitPages(server: FastifyInstance, origin: () => string, pages: string): void {
  server.addHook('onRequest', async (request, reply) => {
    reply.headers({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff', vary: 'origin' });
    if (request.headers.host !== new URL(origin()).host)
      throw new MillraceError('E_AUTH', 'this is not the name of this listener');
    if (request.headers.origin !== pages) throw new MillraceError('E_AUTH', 'the request comes from another site');
    reply.headers({
      'access-control-allow-origin': pages,
      'access-control-allow-methods': 'GET, POST, PUT',
      'access-control-allow-headers': 'content-type, idempotency-key, millrace-ticket, millrace-upload',
      'access-control-max-age': String(PREFLIGHT_S),
    });
    if (!request.is404) return;
    reply.header('connection', 'close');
    throw new MillraceError('E_NOT_FOUND', 'there is no such path');
  });
}

function mount(
  server: FastifyInstance,
  origin: () => string,
  { directory, clock, uploads, tickets, answers }: BrowserUploadsOptions,
): void {
  const sessions = new UploadSessions(directory, clock, systemRandom, origin);
  const failures = new FailureLimit(clock, 'too many refused uploads came from this address');
  const actorOf = (request: FastifyRequest): Actor => {
    const secret = request.headers[UPLOAD_HEADER];
    if (secret === undefined) return guest;
    const { design = '' } = request.params as { readonly design?: string };
    return userActor(directory, sessions.require(secret, design).key);
  };
  const { uploads: handlers } = uploadHandlers(uploads, tickets);
  mountRoutes<typeof uploadListenerRoutes>(
    server,
    uploadListenerRoutes,
    {
      uploads: {
        ...handlers,
        open: async ({ body, address, allow }) => {
          allow();
          failures.require(address);
          try {
            const { design, secret, until } = await sessions.open({
              transaction: base64(body.request),
              credential: base64(body.credential),
            });
            return { design, secret, until };
          } catch (error) {
            failures.failed(address);
            throw error;
          }
        },
      },
    },
    { actorOf, answers },
  );
}

function base64(text: string): Uint8Array {
  try {
    return fromBase64(text);
  } catch (cause) {
    throw new MillraceError('E_INPUT', 'body: not base64', { cause });
  }
}
