import { MillraceError } from '@millrace/base';
import type { Address } from './directory.ts';
import { createHttpClient, type HttpClient, type TlsOptions } from './http.ts';

/**
 * Goes through the addresses of nodes that do the same work, one after the other, from a random one, so that callers
 * spread over the nodes and turn to another one after a failure.
 */
export class NodeRing {
  readonly #list: () => readonly Address[];
  readonly #random: () => number;
  #last: Address | undefined;

  /** @param list at least one address, read when needed @param random 0 ≤ n < 1; for tests */
  constructor(list: () => readonly Address[], random: () => number = Math.random) {
    this.#list = list;
    this.#random = random;
  }

  /** Number of addresses now. */
  get count(): number {
    return this.#list().length;
  }

  /** The address after the one that was given last. @throws {MillraceError} E_CONFIG if no address is known */
  next(): Address {
    const list = this.#list();
    const at = list.findIndex(({ host, port }) => host === this.#last?.host && port === this.#last.port);
    const next = list[at < 0 ? Math.floor(this.#random() * list.length) : (at + 1) % list.length];
    if (next === undefined) throw new MillraceError('E_CONFIG', 'no address of the node is known');
    this.#last = next;
    return next;
  }
}

/** Calls the nodes in turn: each call goes to the next one. */
export function createRingClient(ring: NodeRing, { tls }: { readonly tls: TlsOptions }): HttpClient {
  let address = ring.next();
  const client = createHttpClient({ addresses: () => [address], tls });
  return {
    call: (method, path, options) => {
      address = ring.next();
      return client.call(method, path, options);
    },
    close: () => client.close(),
  };
}
