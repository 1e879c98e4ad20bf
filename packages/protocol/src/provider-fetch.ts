import { lookup as lookupAddress } from 'node:dns';
import { request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { MillraceError } from '@millrace/base';
import { addressClass, hostOf } from '@millrace/protocol';

// Requests to sign-in providers. The issuer's address comes from a document that somebody else has signed, and the
// provider's endpoints from the provider. Without a guard they could point to services of the caller's own network
// (server-side request forgery).

export interface ProviderRules {
  /** Allows addresses of private networks, for a provider inside the company. Link-local addresses stay refused. */
  readonly privateNetworks?: boolean | undefined;
  /** Allows loopback addresses and HTTP to them. For tests. */
  readonly loopback?: boolean | undefined;
}

export interface ProviderRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
}

const TIMEOUT_MS = 10_000;
const MAX_ANSWER = 256 * 1024;

/** @throws {MillraceError} E_PROVIDER */
function requireAddress(address: string, { privateNetworks: inside, loopback: local }: ProviderRules): void {
  const refuse = (why: string) =>
    new MillraceError('E_PROVIDER', `the sign-in provider’s address ${address} is ${why}`, { data: { address } });
  switch (addressClass(address)) {
    case 'public':
      return;
    case 'loopback':
      if (local === true) return;
      throw refuse('this computer');
    case 'private':
      if (inside === true) return;
      throw refuse('in a private network');
    case 'special':
      throw refuse('not a public one');
  }
}

/**
 * Requires https, no user name, and, if the host is an address, an allowed one.
 * @throws {MillraceError} E_PROVIDER
 */
export function requireProviderUrl(text: string | URL, rules: ProviderRules): URL {
  const url = URL.canParse(String(text)) ? new URL(text) : undefined;
  if (url === undefined)
    throw new MillraceError('E_PROVIDER', 'the sign-in provider names an address that is not a URL');
  const host = hostOf(url);
  const local = rules.loopback === true && (host === 'localhost' || addressClass(host) === 'loopback');
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && local))
    throw new MillraceError('E_PROVIDER', `the sign-in provider’s address has to begin with https: ${url.origin}`);
  if (url.username !== '' || url.password !== '')
    throw new MillraceError('E_PROVIDER', 'the sign-in provider’s address contains a user name');
  if (isIP(host) !== 0) requireAddress(host, rules);
  return url;
}

/** Resolves a name once, checks every address, and connects to these addresses only. */
const guardedLookup =
  (rules: ProviderRules): LookupFunction =>
  (hostname, options, callback) => {
    lookupAddress(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '', 0);
      try {
        for (const { address } of addresses) requireAddress(address, rules);
      } catch (refused) {
        return callback(refused as NodeJS.ErrnoException, '', 0);
      }
      const [first] = addresses;
      if (options.all === true) return callback(null, addresses);
      callback(null, first?.address ?? '', first?.family ?? 0);
    });
  };

/**
 * Sends one request to a provider. Redirects are not followed, answers are limited in size and time.
 * @throws {MillraceError} E_PROVIDER: an address that is not allowed, a redirect, too large an answer; E_UNAVAILABLE,
 *   E_TIMEOUT
 */
export async function providerFetch(
  target: string | URL,
  { method = 'GET', headers = {}, body, signal }: ProviderRequest,
  rules: ProviderRules,
): Promise<Response> {
  const url = requireProviderUrl(target, rules);
  const payload = body === undefined || body === null ? undefined : String(body);
  const limits = [AbortSignal.timeout(TIMEOUT_MS), ...(signal === undefined ? [] : [signal])];
  const options: RequestOptions = {
    ...{ method, headers: { ...headers }, agent: false, lookup: guardedLookup(rules) },
    signal: AbortSignal.any(limits),
  };
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) => {
      if (cause instanceof MillraceError) return reject(cause);
      if (signal?.aborted) return reject(signal.reason);
      const late = limits[0]?.aborted === true;
      const what = late ? 'does not answer in time' : 'does not answer';
      reject(new MillraceError(late ? 'E_TIMEOUT' : 'E_UNAVAILABLE', `${url.host} ${what}`, { cause }));
    };
    const outgoing = send(url, options, (response) => {
      const { statusCode: status = 0 } = response;
      response.on('error', fail);
      if (status < 200 || (status >= 300 && status < 400)) {
        response.destroy(new MillraceError('E_PROVIDER', `${url.host} redirects a request, which is not followed`));
        return;
      }
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_ANSWER)
          response.destroy(
            new MillraceError('E_PROVIDER', `the answer of ${url.host} is larger than ${MAX_ANSWER} bytes`),
          );
        else chunks.push(chunk);
      });
      response.on('end', () => {
        const type = response.headers['content-type'];
        const init = { status, headers: type === undefined ? {} : { 'content-type': type } };
        resolve(new Response(size === 0 ? null : Buffer.concat(chunks), init));
      });
    });
    outgoing.on('error', fail);
    outgoing.end(payload);
  });
}
