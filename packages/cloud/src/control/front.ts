import { type Closable, type Logger, MillraceError } from '@millrace/base';
import type { Address } from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import type { Lease } from '../node/lease.ts';
import { createTlsServer, listen, type TlsServer } from '../node/server.ts';
import { CONTROL_BODY_LIMIT } from './control-node.ts';

/** The listener of a control node that shares its state with others, open for the life of its process. */
export interface Front extends Closable {
  readonly server: TlsServer;
  /** Lets a server, which does not listen itself, answer while the lease is current. @returns ends this, and the server */
  serve(active: TlsServer, lease: Pick<Lease, 'isCurrent'>): Promise<Closable>;
}

/**
 * Answers E_STANDBY to every request, before the caller is identified, unless another server was given to `serve`.
 * @throws {MillraceError} E_UNAVAILABLE when the address is taken
 */
export async function openFront(config: NodeConfig, address: Address, logger: Logger): Promise<Front> {
  const { directory, tls, id } = config;
  const server = createTlsServer({ directory, tls, logger, bodyLimit: CONTROL_BODY_LIMIT, guests: true });
  server.addHook('onRequest', async () => {
    throw new MillraceError('E_STANDBY', `the control node ${id} is on standby`);
  });
  const { close } = await listen(server, address);
  const listener = server.server;
  const [standby] = listener.listeners('request');
  let answering: { readonly active: TlsServer; readonly lease: Pick<Lease, 'isCurrent'> } | undefined;
  listener.removeAllListeners('request');
  listener.on('request', (request, response) => {
    if (answering?.lease.isCurrent === true) answering.active.server.emit('request', request, response);
    else standby?.(request, response);
  });
  return {
    server,
    serve: async (active, lease) => {
      await active.ready();
      const own = { active, lease };
      answering = own;
      return {
        close: async () => {
          if (answering === own) answering = undefined;
          // Calls that wait in the former server end. The port stays open.
          listener.closeAllConnections();
          await active.close();
        },
      };
    },
    close,
  };
}
