import { distributionLinks } from '@millrace/api';
import type { Bytes, Closable, Logger } from '@millrace/base';
import type { TlsIdentity } from '@millrace/identity';
import {
  type Address,
  addressesOf,
  connectLink,
  type Directory,
  type LinkSocket,
  nodeOf,
  nodesOf,
  tlsTo,
} from '@millrace/protocol';

/** A way to one distribution node. */
export interface DistributionLink {
  readonly connected: boolean;
  /** @returns false if there is no connection */
  send(message: Uint8Array): boolean;
}

/**
 * A proactive node's links: one to every distribution node that the directory names. A machine is connected to one of
 * them. Control says to which one when it announces a permit.
 */
export interface DistributionLinks extends Closable {
  /**
   * @param id of a distribution node; by default the first one that the directory names. It may be one that this
   *   process has not read of yet: the link is looked up when it is used.
   */
  to(id: string | undefined): DistributionLink;
  close(): void;
}

export interface DistributionLinksOptions {
  readonly directory: Directory;
  /** Calls back when the directory has changed. */
  readonly onChange: (listener: () => void) => void;
  /** Address of a node for which the directory lists none. */
  readonly bootstrap: () => Address;
  readonly tls: () => TlsIdentity;
  readonly logger: Logger;
}

export function connectDistributions(
  { directory, onChange, bootstrap, tls, logger }: DistributionLinksOptions,
  handlers: { message(message: Bytes): void; open(): void },
): DistributionLinks {
  const links = new Map<string, LinkSocket>();
  const connect = (id: string) => {
    const addresses = () => addressesOf(directory, id, bootstrap);
    return connectLink(
      { addresses, path: distributionLinks.node.path, tls: tlsTo(directory, id, tls), logger },
      handlers,
    );
  };
  const follow = () => {
    const named = new Set(nodesOf(directory, 'distribution').map(({ id }) => id));
    for (const [id, link] of links) {
      if (named.has(id)) continue;
      links.delete(id);
      link.close();
    }
    for (const id of named) if (!links.has(id)) links.set(id, connect(id));
  };
  follow();
  let closed = false;
  onChange(() => {
    if (!closed) follow();
  });
  return {
    to: (id) => {
      const link = () => links.get(id ?? nodeOf(directory, 'distribution').id);
      return {
        get connected() {
          return link()?.connected ?? false;
        },
        send: (message) => link()?.send(message) ?? false,
      };
    },
    close: () => {
      closed = true;
      for (const link of links.values()) link.close();
    },
  };
}
