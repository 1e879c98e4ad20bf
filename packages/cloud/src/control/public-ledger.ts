import { type Closable, Closer, type Logger, MillraceError, toHex } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import type { TlsIdentity } from '@millrace/identity';
import { type Ledger, parseTilePath } from '@millrace/ledger';
import {
  type Address,
  listenToStrangers,
  openTlsFiles,
  type PublicAnswer,
  type PublicLimits,
  type PublicRequest,
  type PublicServer,
  type TlsFiles,
} from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import type { CheckpointPublisher } from './checkpoint-publisher.ts';

export interface PublicLedgerOptions {
  readonly address: Address;
  readonly tls: TlsIdentity;
  readonly ledger: Pick<Ledger, 'tile'>;
  /** The newest published checkpoint. */
  readonly checkpoint: () => Uint8Array;
  readonly limits?: Partial<PublicLimits>;
  readonly logger: Logger;
}

/** Interval at which the listener's own certificate is read again from its files, ms. */
const TLS_EVERY_MS = 3_600_000;

/** Opens the listener of the settings, unless they turn it off or no address is given. */
export async function openPublicLedger({
  config,
  address,
  ledger,
  publisher,
  logger,
}: {
  readonly config: Pick<NodeConfig, 'ledger' | 'tls'>;
  readonly address: Address | undefined;
  readonly ledger: Pick<Ledger, 'tile'>;
  readonly publisher: Pick<CheckpointPublisher, 'current'>;
  readonly logger: Logger;
}): Promise<Closable> {
  const closer = new Closer();
  const { listen = address, tls } = config.ledger;
  if (listen === undefined || listen === false) return closer;
  try {
    const files = tls === undefined ? undefined : closer.add(await openTlsFiles(tls));
    const server = closer.add(
      await servePublicLedger({
        address: listen,
        tls: files?.identity ?? config.tls,
        ledger,
        checkpoint: publisher.current,
        logger,
      }),
    );
    if (files !== undefined) closer.add(renewFrom(files, server, logger));
    return closer;
  } catch (error) {
    await closer.close();
    throw error;
  }
}

function renewFrom(files: TlsFiles, server: PublicServer, logger: Logger): Closable {
  const renew = async () => {
    if (await files.refresh()) server.renewTls(files.identity);
  };
  const timer = setInterval(() => {
    renew().catch((err: unknown) => logger.warn({ err }, 'certificate of the public ledger not read again'));
  }, TLS_EVERY_MS);
  return { close: () => clearInterval(timer) };
}

/** The contents of a tile never change. */
const IMMUTABLE = 'public, max-age=31536000, immutable';
const BRIEF = 'public, max-age=2';

/**
 * Serves the log publicly in the layout of C2SP tlog-tiles: only `/checkpoint`, `/tile/…` and `/tile/entries/…`.
 * Requests no client certificate.
 */
export function servePublicLedger(options: PublicLedgerOptions): Promise<PublicServer> {
  const { address, tls, limits = {}, logger } = options;
  return listenToStrangers({ address, tls, limits, logger, methods: ['GET'], answer: (call) => answer(call, options) });
}

async function answer({ path, headers }: PublicRequest, options: PublicLedgerOptions): Promise<PublicAnswer> {
  if (path === '/checkpoint') return cacheable(headers, options.checkpoint(), 'text/plain; charset=utf-8', BRIEF);
  const name = path.slice(1);
  if (parseTilePath(name) === undefined) throw new MillraceError('E_NOT_FOUND', 'there is no such path');
  return cacheable(headers, await options.ledger.tile(name), 'application/octet-stream', IMMUTABLE);
}

function cacheable(
  headers: PublicRequest['headers'],
  body: Uint8Array,
  type: string,
  cacheControl: string,
): PublicAnswer {
  const etag = `"${toHex(sha256(body).subarray(0, 16))}"`;
  const known = headers['if-none-match']
    ?.split(',')
    .some((tag) => [etag, '*'].includes(tag.trim().replace(/^W\//, '')));
  return {
    status: known === true ? 304 : 200,
    type,
    body: known === true ? new Uint8Array() : body,
    // The answer does not depend on the caller, so pages of other origins may read it.
    headers: { etag, 'cache-control': cacheControl, 'access-control-allow-origin': '*' },
  };
}
