import { Choice } from './callers.ts';
import type { Address } from './directory.ts';
import { createHttpClient, type HttpClient, type TlsOptions } from './http.ts';

/**
 * Calls nodes that do the same work in turn: each call goes to the next one, the first to a random one.
 * @param addresses at least one, read when needed
 */
export function createRingClient(
  addresses: () => readonly Address[],
  { tls }: { readonly tls: TlsOptions },
): HttpClient {
  const choice = new Choice(addresses, Math.random());
  const client = createHttpClient({ addresses: () => [choice.current], tls });
  return {
    call: (method, path, options) => {
      choice.next();
      return client.call(method, path, options);
    },
    close: () => client.close(),
  };
}
