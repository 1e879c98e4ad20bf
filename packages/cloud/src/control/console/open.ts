import { type Closable, Closer } from '@millrace/base';
import { readConsoleFiles } from '@millrace/console';
import { type Address, openTlsFiles } from '@millrace/protocol';
import type { NodeConfig } from '../../config.ts';
import { localOrigin, requireSafe } from '../../node/browser-server.ts';
import type { IdempotentAnswers } from '../../node/idempotency.ts';
import { renewTlsFrom } from '../../node/renew-tls.ts';
import type { CheckBoard } from '../checks.ts';
import type { ControlContext } from '../context.ts';
import { publicLedgerAnswer } from '../public-ledger.ts';
import { addConsoleRoutes } from './routes.ts';
import { serveConsole } from './server.ts';
import type { Sessions } from './sessions.ts';

export interface ConsoleOptions {
  readonly config: Pick<NodeConfig, 'console' | 'directories' | 'ledger'>;
  readonly address: Address | undefined;
  /** Address of distribution's listener for browsers, if it is on this computer. */
  readonly uploadsAddress: Address | undefined;
  readonly context: ControlContext;
  readonly checks: CheckBoard;
  readonly answers: IdempotentAnswers;
  readonly sessions: Sessions;
}

/**
 * Opens the listener of the settings, unless they turn it off or no address is given.
 * @throws {MillraceError} E_CONFIG for settings with which browsers could not be served safely
 */
export async function openConsole(options: ConsoleOptions): Promise<Closable> {
  const { config, address, uploadsAddress, context, checks, answers, sessions } = options;
  const closer = new Closer();
  const { directories } = config;
  // A provider on this computer: for tests.
  const loopback = process.env.MILLRACE_OIDC_LOOPBACK === '1';
  const providers = { privateNetworks: config.console.providers === 'private', loopback };
  const { listen = address, origin, tls } = config.console;
  if (listen === undefined || listen === false) return closer;
  requireSafe(config.console, listen, 'console');
  // Browsers on other computers reach no address of this one.
  const local = origin === undefined && uploadsAddress !== undefined ? localOrigin(uploadsAddress) : undefined;
  const uploads = config.console.uploads ?? local;
  const { ledger, publisher } = context;
  try {
    const files = tls === undefined ? undefined : closer.add(await openTlsFiles(tls));
    const server = closer.add(
      await serveConsole({
        ...{ address: listen, origin, uploads, tls: files?.identity, files: await readConsoleFiles() },
        ...{ logger: context.logger, metrics: context.metrics, tracer: context.tracer },
        mount: (mounted, at) =>
          addConsoleRoutes(mounted, context, {
            ...{ checks, answers, directories, sessions, uploads, origin: at, providers },
          }),
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
