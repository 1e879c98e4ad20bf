import { type Bytes, type Closable, Closer, type Logger, toMillraceError } from '@millrace/base';
import {
  type Addresses,
  connectLink,
  createHttpClient,
  decodeLink,
  type HttpClient,
  type LinkMessage,
  type LinkSocket,
  tlsTo,
} from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import { followDirectory } from './follow-directory.ts';
import { createMailClient, type MailClient } from './mail-client.ts';

/** What a node that opens no port uses to reach the others: it starts every connection. */
export interface Outbound extends Closable {
  readonly control: HttpClient;
  readonly distribution: HttpClient;
  readonly mail: MailClient;
  readonly link: LinkSocket;
}

export function connectOutbound(options: {
  config: NodeConfig;
  addresses: Addresses;
  logger: Logger;
  onStream: (message: LinkMessage) => void;
}): Outbound {
  const { config, addresses, logger } = options;
  const { directory, role, identity } = config;
  const closer = new Closer();
  const tlsFor = (node: 'control' | 'distribution') => tlsTo(directory, node, () => config.tls);
  const control = closer.add(createHttpClient({ address: () => addresses.control, tls: tlsFor('control') }));
  const distribution = closer.add(
    createHttpClient({ address: () => addresses.distribution, tls: tlsFor('distribution') }),
  );
  const link = closer.add(
    connectLink(
      { address: () => addresses.distribution, path: '/v1/node', tls: tlsFor('distribution'), logger },
      { message: (bytes: Bytes) => receive(bytes, options.onStream, logger) },
    ),
  );
  closer.add(followDirectory(config, undefined, logger));
  const mail = closer.add(createMailClient({ http: control, directory, role, identity, logger }));
  return { control, distribution, mail, link, close: () => closer.close() };
}

function receive(bytes: Bytes, onStream: (message: LinkMessage) => void, logger: Logger): void {
  try {
    onStream(decodeLink(bytes, true));
  } catch (error) {
    logger.warn({ err: toMillraceError(error) }, 'a message on the link was dropped');
  }
}
