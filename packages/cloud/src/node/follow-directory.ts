import { type Closable, Closer, type Logger, parse } from '@millrace/base';
import { type HttpClient, pollDirectory, watchDirectory } from '@millrace/protocol';
import { z } from 'zod';
import type { NodeConfig } from '../config.ts';
import { callerOf, certificateOf, renewTls, type TlsServer } from './server.ts';

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
    readonly control?: HttpClient;
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
  if (control !== undefined) closer.add(pollDirectory({ http: control, file: directories, onChange, logger }));
  return closer;
}

const directoryQuery = z.object({ after: z.coerce.number().int().nonnegative().default(0) });

/**
 * `GET /v1/directory?after=SEQUENCE`: the newest directory that this node has accepted, for every party; 204 when it is
 * not newer.
 */
export function addDirectoryRoute(server: TlsServer, { directory, directories }: NodeConfig): void {
  if (directories === undefined) return;
  server.get('/v1/directory', async (request, reply) => {
    callerOf(directory, certificateOf(request));
    const { after } = parse(directoryQuery, request.query, 'query');
    return directories.sequence > after ? directories.signed : reply.code(204).send();
  });
}
