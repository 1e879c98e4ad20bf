import { type Bytes, MillraceError, retry } from '@millrace/base';

export interface HttpOptions {
  readonly method?: 'GET' | 'POST' | 'PUT';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  /** Timeout for one answer, ms. */
  readonly timeoutMs: number;
  /** No attempt begins more than this time after the first, ms. */
  readonly retryMs: number;
  /** Maximum answer, bytes. */
  readonly limit: number;
}

export interface HttpAnswer {
  readonly status: number;
  readonly bytes: Bytes;
}

/**
 * Sends one request to a foreign server. Retries for a while if the connection fails or the server answers 5xx or 429.
 * @throws {MillraceError} E_UNAVAILABLE, E_TIMEOUT, E_TOO_LARGE
 */
export function request(url: URL, options: HttpOptions): Promise<HttpAnswer> {
  return retry(() => requestOnce(url, options), { forMs: options.retryMs });
}

async function requestOnce(
  url: URL,
  { method = 'GET', headers, body, timeoutMs, limit }: Omit<HttpOptions, 'retryMs'>,
) {
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const sent = body === undefined ? {} : { body: typeof body === 'string' ? body : Uint8Array.from(body) };
    const response = await fetch(url, { method, redirect: 'error', signal, ...sent, ...(headers && { headers }) });
    if (response.status >= 500 || response.status === 429) {
      await response.body?.cancel();
      throw new MillraceError('E_UNAVAILABLE', `${url.origin} answered ${response.status}`);
    }
    return { status: response.status, bytes: await readUpTo(response, limit, url) };
  } catch (cause) {
    if (cause instanceof MillraceError) throw cause;
    if (signal.aborted) throw new MillraceError('E_TIMEOUT', `${url.origin} did not answer in time`, { cause });
    throw new MillraceError('E_UNAVAILABLE', `${url.origin} cannot be reached`, { cause });
  }
}

async function readUpTo(response: Response, limit: number, url: URL): Promise<Bytes> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > limit) throw new MillraceError('E_TOO_LARGE', `${url.origin} answered more than ${limit} bytes`);
    chunks.push(chunk);
  }
  return Uint8Array.from(Buffer.concat(chunks));
}
