import { type Closable, Closer, type Logger, MillraceError, toHex, utf8 } from '@millrace/base';
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
} from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import { renewTlsFrom } from '../node/renew-tls.ts';
import type { CheckpointPublisher } from './checkpoint-publisher.ts';

export interface PublicLedgerOptions {
  readonly address: Address;
  readonly tls: TlsIdentity;
  readonly ledger: Pick<Ledger, 'tile'>;
  /** The newest published checkpoint. */
  readonly checkpoint: () => Uint8Array;
  /** False while control is quarantined. */
  readonly isServing: () => boolean;
  readonly limits?: Partial<PublicLimits>;
  readonly logger: Logger;
}

/** Opens the listener of the settings, unless they turn it off or no address is given. */
export async function openPublicLedger({
  config,
  address,
  ledger,
  publisher,
  isServing,
  logger,
}: {
  readonly config: Pick<NodeConfig, 'ledger' | 'tls'>;
  readonly address: Address | undefined;
  readonly ledger: Pick<Ledger, 'tile'>;
  readonly publisher: Pick<CheckpointPublisher, 'current'>;
  readonly isServing: () => boolean;
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
        isServing,
        logger,
      }),
    );
    if (files !== undefined) closer.add(renewTlsFrom(files, server.renewTls, logger));
    return closer;
  } catch (error) {
    await closer.close();
    throw error;
  }
}

/** The contents of a tile never change. */
const IMMUTABLE = 'public, max-age=31536000, immutable';
const BRIEF = 'public, max-age=2';

/**
 * Serves the log publicly in the layout of C2SP tlog-tiles: only `/checkpoint`, `/tile/…` and `/tile/entries/…`. Also
 * serves `/healthz` for load balancers. Requests no client certificate.
 */
export function servePublicLedger(options: PublicLedgerOptions): Promise<PublicServer> {
  const { address, tls, limits = {}, logger } = options;
  return listenToStrangers({
    address,
    tls,
    limits,
    logger,
    methods: ['GET'],
    answer: async (call) => (call.path === '/healthz' ? health(options) : publicLedgerAnswer(call, options)),
  });
}

function health({ isServing }: Pick<PublicLedgerOptions, 'isServing'>): PublicAnswer {
  const [status, text] = isServing() ? [200, 'ok\n'] : [503, 'quarantined\n'];
  return { status, type: 'text/plain; charset=utf-8', body: utf8(text), headers: { 'cache-control': 'no-store' } };
}

/** @throws {MillraceError} E_NOT_FOUND */
export async function publicLedgerAnswer(
  { path, headers }: Pick<PublicRequest, 'path' | 'headers'>,
  options: Pick<PublicLedgerOptions, 'ledger' | 'checkpoint'>,
): Promise<PublicAnswer> {
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
