import { isIP } from 'node:net';
import { type Closable, Closer, MillraceError } from '@millrace/base';
import { readConsoleFiles } from '@millrace/console';
import { type Address, openTlsFiles } from '@millrace/protocol';
import type { NodeConfig } from '../../config.ts';
import type { IdempotentAnswers } from '../../node/idempotency.ts';
import { renewTlsFrom } from '../../node/renew-tls.ts';
import type { ConsoleSettings } from '../../settings.ts';
import type { CheckBoard } from '../checks.ts';
import type { ControlContext } from '../context.ts';
import { publicLedgerAnswer } from '../public-ledger.ts';
import { addConsoleRoutes } from './routes.ts';
import { serveConsole } from './server.ts';

export interface ConsoleOptions {
  readonly config: Pick<NodeConfig, 'console' | 'directories' | 'ledger'>;
  readonly address: Address | undefined;
  readonly context: ControlContext;
  readonly checks: CheckBoard;
  readonly answers: IdempotentAnswers;
}

/**
 * Opens the listener of the settings, unless they turn it off or no address is given.
 * @throws {MillraceError} E_CONFIG for settings with which browsers could not be served safely
 */
export async function openConsole({ config, address, context, checks, answers }: ConsoleOptions): Promise<Closable> {
  const closer = new Closer();
  const { directories } = config;
  const { listen = address, origin, tls } = config.console;
  if (listen === undefined || listen === false) return closer;
  requireSafe(config.console, listen);
  const { ledger, publisher } = context;
  try {
    const files = tls === undefined ? undefined : closer.add(await openTlsFiles(tls));
    const server = closer.add(
      await serveConsole({
        ...{ address: listen, origin, tls: files?.identity, files: await readConsoleFiles() },
        ...{ logger: context.logger, metrics: context.metrics },
        mount: (mounted, at) => addConsoleRoutes(mounted, context, { checks, answers, directories, origin: at }),
        ledger:
          config.ledger.listen === false
            ? undefined
            : (request) => publicLedgerAnswer(request, { ledger, checkpoint: publisher.current }),
      }),
    );
    if (files !== undefined) closer.add(renewTlsFrom(files, server.renewTls, context.logger));
    context.logger.info({ origin: server.origin }, 'the console is served');
    return closer;
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/** Cookies and passkeys need TLS or a browser on this computer, and a host name. */
function requireSafe({ origin, tls }: ConsoleSettings, { host }: Address): void {
  const local = ['127.0.0.1', '::1', 'localhost'].includes(host);
  if (tls === undefined && !local)
    throw new MillraceError('E_CONFIG', 'the console listens for other computers: name a certificate (console.tls)');
  if (origin === undefined) {
    if (!local) throw new MillraceError('E_CONFIG', 'name the address that people open (console.origin)');
    return;
  }
  const { protocol, hostname } = new URL(origin);
  if (isIP(hostname.replace(/^\[|\]$/g, '')) !== 0)
    throw new MillraceError('E_CONFIG', 'console.origin needs a host name: browsers offer no passkeys for addresses');
  if (protocol === 'http:' && hostname !== 'localhost')
    throw new MillraceError('E_CONFIG', 'console.origin has to begin with https:// except for http://localhost');
}
