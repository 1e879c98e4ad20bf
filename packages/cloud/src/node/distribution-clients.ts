import type { DistributionClient } from '@millrace/api';
import type { Closable } from '@millrace/base';
import type { TlsIdentity } from '@millrace/identity';
import {
  type Address,
  addressesOf,
  createHttpClient,
  type Directory,
  type HttpClient,
  nodesInOrder,
  nodesOf,
  tlsTo,
} from '@millrace/protocol';
import { distributionClient } from './api-clients.ts';

/** One distribution node, to be called. */
export interface KnownDistribution {
  readonly id: string;
  readonly client: DistributionClient;
}

/** Clients of every distribution node that the directory names now. */
export interface DistributionClients extends Closable {
  /** In the order in which owners try them for a design. */
  of(design: string): readonly KnownDistribution[];
  close(): void;
}

/**
 * @param bootstrap address of a node for which the directory lists none
 * @param traceparent as for `createHttpClient`
 */
export function createDistributionClients(
  directory: Directory,
  bootstrap: () => Address,
  tls: () => TlsIdentity,
  traceparent?: () => string | undefined,
): DistributionClients {
  const clients = new Map<string, { readonly http: HttpClient; readonly client: DistributionClient }>();
  const connect = (id: string) => {
    const addresses = () => addressesOf(directory, id, bootstrap);
    const http = createHttpClient({
      ...{ addresses, tls: tlsTo(directory, id, tls), ...(traceparent && { traceparent }) },
      leaves: () => nodesOf(directory, 'distribution').length > 1,
    });
    const connected = { http, client: distributionClient(http) };
    clients.set(id, connected);
    return connected;
  };
  return {
    of: (design) =>
      nodesInOrder(directory, 'distribution', design).map(({ id }) => ({
        id,
        client: (clients.get(id) ?? connect(id)).client,
      })),
    close: () => {
      for (const { http } of clients.values()) http.close();
    },
  };
}
