import type { ControlClient } from '@millrace/api';
import { type Closable, Closer, type Logger } from '@millrace/base';
import { pollDirectory, watchDirectory } from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import { renewTls, type TlsServer } from './server.ts';

/**
 * Accepts newer directories from the node's folder and from control while the node runs, so that a key rotation on
 * another node needs no restart. The server keeps listening and accepts the new authorities.
 * @param options.server server of this node, if it listens
 * @param options.control client that fetches newer directories; control itself has none
 * @param options.onChange called after each change
 */
export function followDirectory(
  config: NodeConfig,
  options: {
    readonly server?: TlsServer;
    readonly control?: Pick<ControlClient, 'directory'>;
    readonly logger: Logger;
    readonly onChange?: () => void;
  },
): Closable {
  const { server, control, logger } = options;
  const { directories } = config;
  const closer = new Closer();
  if (directories === undefined) return closer;
  const onChange = () => {
    if (server !== undefined) renewTls(server, config);
    options.onChange?.();
  };
  closer.add(watchDirectory(directories, onChange, logger));
  if (control !== undefined)
    closer.add(pollDirectory({ ask: control.directory.newest, file: directories, onChange, logger }));
  return closer;
}
