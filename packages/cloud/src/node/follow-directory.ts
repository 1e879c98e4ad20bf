import type { Closable, Logger } from '@millrace/base';
import { watchDirectory } from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import { renewTls, type TlsServer } from './server.ts';

/**
 * Takes every newer directory while the node runs: keys that are rotated elsewhere need no restart here. What listens goes on
 * listening, and believes other authorities.
 */
export function followDirectory(
  config: NodeConfig,
  server: TlsServer | undefined,
  logger: Logger,
  onChange: () => void = () => undefined,
): Closable {
  const { directories } = config;
  if (directories === undefined) return { close: () => undefined };
  const changed = () => {
    if (server !== undefined) renewTls(server, config);
    onChange();
  };
  return watchDirectory(directories, changed, logger);
}
