import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { type Bytes, concatBytes, MillraceError } from '@millrace/base';

export interface PublicCall {
  readonly url: URL;
  /** If present, the method is POST, otherwise GET. */
  readonly body?: Uint8Array;
  /** Certificate authorities to trust instead of the system's, PEM. */
  readonly authority?: string | undefined;
  readonly timeoutMs?: number;
  /** Maximum length of the answer, bytes. */
  readonly maxBytes: number;
  readonly signal?: AbortSignal | undefined;
}

export interface PublicReply {
  readonly status: number;
  readonly body: Bytes;
}

/**
 * Sends a request to a server that may be outside the installation, without a client certificate. Does not follow
 * redirects.
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
    // Limits the whole exchange, so that a server that sends a byte now and then cannot keep the call open.
    const timer = setTimeout(
      () => outgoing.destroy(new MillraceError('E_TIMEOUT', `${url.host}: no answer in time`)),
      timeoutMs,
    );
    outgoing.on('close', () => clearTimeout(timer));
    outgoing.on('error', fail);
    outgoing.end(body);
  });
}
