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
 * @param options.sources nodes asked for newer directories, in order until one answers; control has none
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
    pollDirectory({ ask: askAll([...sources, ...(guest ? [guest] : [])]), file: directories, logger }),
  );
  // Polls every source, so that no single node can withhold a list of revoked keys.
  for (const { revocations } of sources)
    closer.add(pollRevocations({ ask: revocations.get, file: directories, logger }));
  return { heard: polling.heard, askNow: polling.askNow, close: () => closer.close() };
}

/** Asks the sources in order until one answers: a node that has moved does not answer at its old address. */
function askAll(sources: readonly Pick<ControlClient, 'directory'>[]): AskDirectory {
  return async (query, options) => {
    let failure: unknown;
    for (const { directory } of sources) {
      try {
        return await directory.newest(query, options);
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  };
}
