import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { MillraceError } from '@millrace/base';

// The redirect of a native application to itself: RFC 8252, 7.3.

const PATH = '/callback';
/** How long the person may take to sign in. */
const PATIENCE_MS = 10 * 60_000;
const MAX_URL = 8_192;

export interface LoopbackRedirect {
  /** The redirect URI. */
  readonly address: string;
  /** The address with which the browser came back, once. Requests with another `state` are refused and ignored. */
  answer(state: string): Promise<URL>;
  close(): Promise<void>;
}

/** @throws {MillraceError} E_UNAVAILABLE if the port is taken; `answer`: E_TIMEOUT */
export async function listenForRedirect({
  port = 0,
  signal,
}: {
  readonly port?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}): Promise<LoopbackRedirect> {
  let expected: { readonly state: string; readonly take: (url: URL) => void } | undefined;
  const server = createServer({ maxHeaderSize: 16_384 }, (request, response) => {
    const { url = '', method } = request;
    const asked = url.length <= MAX_URL && URL.canParse(url, address) ? new URL(url, address) : undefined;
    if (method !== 'GET' || asked?.pathname !== PATH || asked.searchParams.get('state') !== expected?.state)
      return say(response, 404, 'There is nothing here.');
    expected?.take(asked);
    say(response, 200, 'You may close this page and go back to the terminal.');
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) =>
      reject(new MillraceError('E_UNAVAILABLE', `cannot listen on 127.0.0.1:${port}`, { cause })),
    );
    server.listen({ host: '127.0.0.1', port }, resolve);
  });
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}${PATH}`;
  return {
    address,
    answer: (state) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(
          () => reject(new MillraceError('E_TIMEOUT', 'nobody signed in within ten minutes')),
          PATIENCE_MS,
        );
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
        expected = {
          state,
          take: (url) => {
            clearTimeout(timer);
            resolve(url);
          },
        };
        server.once('close', () => clearTimeout(timer));
      }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function say(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    'content-security-policy': "default-src 'none'",
    'cache-control': 'no-store',
    connection: 'close',
  });
  response.end(`${text}\n`);
}
