import type { ControlClient } from '@millrace/api';
import { Closer, type Logger } from '@millrace/base';
import {
  type AskDirectory,
  type DirectoryPolling,
  nodesOf,
  pollDirectory,
  pollRevocations,
  watchDirectory,
} from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import { renewTls, type TlsServer } from './server.ts';

/**
 * Accepts newer directories from the node's folder and from control while the node runs, so that a key rotation on
 * another node needs no restart. The server keeps listening and accepts the new authorities.
 * @param options.server server of this node, if it listens
 * @param options.sources nodes asked for newer directories, control first; control has none
 * @param options.onChange called after each change
 */
export function followDirectory(
  config: NodeConfig,
  options: {
    readonly server?: TlsServer;
    /** As the server was created. */
    readonly visitors?: boolean;
    readonly sources?: readonly Pick<ControlClient, 'directory' | 'revocations'>[];
    /** Control as it answers callers without a certificate: a node that was retired learns of it there. */
    readonly guest?: Pick<ControlClient, 'directory'>;
    readonly logger: Logger;
    readonly onChange?: () => void;
  },
): Pick<DirectoryPolling, 'heard' | 'askNow' | 'close'> {
  const { server, sources = [], guest, logger } = options;
  const { directories } = config;
  const closer = new Closer();
  const nothing = { heard: () => undefined, askNow: () => undefined, close: () => closer.close() };
  if (directories === undefined) return nothing;
  const onChange = () => {
    const { directory, tls } = config;
    if (server !== undefined) renewTls(server, { directory, tls, visitors: options.visitors === true });
    options.onChange?.();
    if (nodesOf(directory, config.id).length === 0)
      logger.error('the directory no longer names this node: nobody accepts its keys, and it will not start again');
  };
  directories.subscribe(onChange);
  closer.add(watchDirectory(directories, () => undefined, logger));
  if (sources.length === 0) return nothing;
  const polling = closer.add(
    pollDirectory({
      asks: sources.map((source, i) => (i === 0 && guest !== undefined ? either(source, guest) : newestOf(source))),
      ...{ file: directories, logger },
    }),
  );
  // Polls every source, so that no single node can withhold a directory or a list of revoked keys.
  for (const { revocations } of sources)
    closer.add(pollRevocations({ ask: revocations.get, file: directories, logger }));
  return { heard: polling.heard, askNow: polling.askNow, close: () => closer.close() };
}

const newestOf =
  ({ directory }: Pick<ControlClient, 'directory'>): AskDirectory =>
  (query, options) =>
    directory.newest(query, options);

/** Asks the second one if the first one gives no answer. */
function either(first: Pick<ControlClient, 'directory'>, second: Pick<ControlClient, 'directory'>): AskDirectory {
  return (query, options) => newestOf(first)(query, options).catch(() => newestOf(second)(query, options));
}
