import type { ControlClient } from '@millrace/api';
import { type Closable, Closer, type Logger } from '@millrace/base';
import { type AskDirectory, pollDirectory, pollRevocations, watchDirectory } from '@millrace/protocol';
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
    readonly logger: Logger;
    readonly onChange?: () => void;
  },
): Closable {
  const { server, sources = [], logger } = options;
  const { directories } = config;
  const closer = new Closer();
  if (directories === undefined) return closer;
  const onChange = () => {
    const { directory, tls } = config;
    if (server !== undefined) renewTls(server, { directory, tls, visitors: options.visitors === true });
    options.onChange?.();
  };
  directories.subscribe(onChange);
  closer.add(watchDirectory(directories, () => undefined, logger));
  if (sources.length > 0)
    closer.add(pollDirectory({ ask: askAll(sources), file: directories, onChange: () => undefined, logger }));
  // Polls every source, so that no single node can withhold a list of revoked keys.
  for (const { revocations } of sources)
    closer.add(pollRevocations({ ask: revocations.get, file: directories, logger }));
  return closer;
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
