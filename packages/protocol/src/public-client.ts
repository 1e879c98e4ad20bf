import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { type Bytes, concatBytes, MillraceError } from '@millrace/base';

export interface PublicCall {
  readonly url: URL;
  /** POST when there is one, GET otherwise. */
  readonly body?: Uint8Array;
  /** Authorities to believe instead of the system's, PEM. */
  readonly authority?: string | undefined;
  readonly timeoutMs?: number;
  /** Longest answer, bytes. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
}

export interface PublicReply {
  readonly status: number;
  readonly body: Bytes;
}

/**
 * Asks a server that need not be of the installation, without a certificate of our own. Redirects are not followed.
 * @throws {MillraceError} E_UNAVAILABLE, E_TIMEOUT, E_TOO_LARGE; E_INPUT for a URL that is neither http nor https
 */
export function callPublic({
  url,
  body,
  authority,
  timeoutMs = 10_000,
  maxBytes,
  signal,
}: PublicCall): Promise<PublicReply> {
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    return Promise.reject(new MillraceError('E_INPUT', `not an http or https URL: ${url.href}`));
  const request = url.protocol === 'https:' ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) => {
      if (cause instanceof MillraceError) return reject(cause);
      if (signal?.aborted) return reject(signal.reason);
      const reason = cause instanceof Error ? cause.message : String(cause);
      reject(new MillraceError('E_UNAVAILABLE', `${url.host} does not answer (${reason})`, { cause }));
    };
    const outgoing = request(
      url,
      {
        method: body === undefined ? 'GET' : 'POST',
        agent: false,
        ...(authority === undefined ? {} : { ca: authority }),
        ...(signal === undefined ? {} : { signal }),
        headers:
          body === undefined ? {} : { 'content-length': body.length, 'content-type': 'text/plain; charset=utf-8' },
      },
      (response) => {
        const chunks: Uint8Array[] = [];
        let length = 0;
        response.on('data', (chunk: Buffer) => {
          length += chunk.length;
          if (length > maxBytes)
            response.destroy(new MillraceError('E_TOO_LARGE', `${url.host}: the answer is too long`));
          chunks.push(chunk);
        });
        response.on('error', fail);
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: concatBytes(...chunks) }));
      },
    );
    // For the whole exchange: a server that sends a byte now and then must not keep us.
    const timer = setTimeout(
      () => outgoing.destroy(new MillraceError('E_TIMEOUT', `${url.host}: no answer in time`)),
      timeoutMs,
    );
    outgoing.on('close', () => clearTimeout(timer));
    outgoing.on('error', fail);
    outgoing.end(body);
  });
}
