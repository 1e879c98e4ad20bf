import { MillraceError } from '@millrace/base';
import type { TlsIdentity } from '@millrace/identity';
import {
  type Address,
  addressesOf,
  createHttpClient,
  type Directory,
  type DirectoryNode,
  type HttpClient,
  nodesInOrder,
  nodesOf,
  tlsTo,
} from '@millrace/protocol';

/** Time without any progress after which another node is tried, if there is one, ms. */
const SILENT_MS = 20_000;

/**
 * Calls distribution nodes. Each design has an order of nodes, so that uploads spread over them and an upload that is
 * resumed finds what it has staged. After a failure, further calls for the design go to the next node: the caller
 * repeats its call, and uploads again what that node lacks.
 * @param bootstrap address of a node for which the directory lists none
 */
export function distributionTransport(
  directory: Directory,
  bootstrap: () => Address,
  tls: () => TlsIdentity,
): HttpClient & { turn(partition: string): void } {
  const clients = new Map<string, HttpClient>();
  const isOneOfSeveral = () => nodesOf(directory, 'distribution').length > 1;
  const clientOf = (id: string): HttpClient => {
    const known = clients.get(id);
    if (known !== undefined) return known;
    const addresses = () => addressesOf(directory, id, bootstrap);
    const client = createHttpClient({ addresses, tls: tlsTo(directory, id, tls), leaves: isOneOfSeveral });
    clients.set(id, client);
    return client;
  };
  /** Node in use, by partition, if it is not the first in the order. */
  const turned = new Map<string, string>();
  const turn = (partition: string) => {
    const nodes = nodesInOrder(directory, 'distribution', partition);
    const at = Math.max(
      nodes.findIndex(({ id }) => id === turned.get(partition)),
      0,
    );
    const next = nodes[(at + 1) % nodes.length];
    if (next !== undefined) turned.set(partition, next.id);
  };
  return {
    turn,
    call: async (method, path, options = {}) => {
      const partition = /^\/v1\/uploads\/([0-9a-f]{32})(?:[/?]|$)/.exec(path)?.[1] ?? '';
      const nodes = nodesInOrder(directory, 'distribution', partition);
      const at = Math.max(
        nodes.findIndex(({ id }) => id === turned.get(partition)),
        0,
      );
      const { id } = nodes[at] as DirectoryNode;
      const several = isOneOfSeveral();
      try {
        return await clientOf(id).call(method, path, several ? { timeoutMs: SILENT_MS, ...options } : options);
      } catch (error) {
        // Of the calls that were under way together, only the first turns to the next node.
        const isCurrent = (turned.get(partition) ?? nodes[0]?.id) === id;
        if (several && isCurrent && isSilence(error) && options.signal?.aborted !== true) turn(partition);
        throw error;
      }
    },
    close: () => {
      for (const client of clients.values()) client.close();
    },
  };
}

function isSilence(error: unknown): boolean {
  return error instanceof MillraceError && (error.code === 'E_UNAVAILABLE' || error.code === 'E_TIMEOUT');
}
