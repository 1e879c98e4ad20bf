import { lookup as lookupAddress } from 'node:dns';
import { request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { MillraceError } from '@millrace/base';

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

const listOf = (...ranges: readonly string[]): BlockList => {
  const list = new BlockList();
  for (const range of ranges) {
    const [address = '', bits] = range.split('/');
    list.addSubnet(address, Number(bits), address.includes(':') ? 'ipv6' : 'ipv4');
  }
  return list;
};
const loopback = listOf('127.0.0.0/8', '::1/128');
const privateNetworks = listOf('10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7');
/** Special addresses (RFC 6890), and prefixes in which an IPv4 address is hidden. */
const never = listOf(
  ...['0.0.0.0/8', '169.254.0.0/16', '192.0.0.0/24', '192.0.2.0/24', '198.18.0.0/15', '198.51.100.0/24'],
  ...['203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4', '::/128', '64:ff9b::/96', '64:ff9b:1::/48'],
  ...['100::/64', '2001::/32', '2001:db8::/32', '2002::/16', 'fe80::/10', 'ff00::/8'],
);

/** IPv4 addresses in the notation of IPv6. */
const mapped = listOf('::ffff:0:0/96');

/** @throws {MillraceError} E_PROVIDER */
function requireAddress(address: string, { privateNetworks: inside, loopback: local }: ProviderRules): void {
  const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
  const refuse = (why: string) =>
    new MillraceError('E_PROVIDER', `the sign-in provider’s address ${address} is ${why}`, { data: { address } });
  if (isIP(address) === 0 || (family === 'ipv6' && mapped.check(address, family))) throw refuse('not an address');
  if (loopback.check(address, family)) {
    if (local === true) return;
    throw refuse('this computer');
  }
  if (privateNetworks.check(address, family)) {
    if (inside === true) return;
    throw refuse('in a private network');
  }
  if (never.check(address, family)) throw refuse('not a public one');
}

/**
 * Requires https, no user name, and, if the host is an address, an allowed one.
 * @throws {MillraceError} E_PROVIDER
 */
export function requireProviderUrl(text: string | URL, rules: ProviderRules): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined)
    throw new MillraceError('E_PROVIDER', 'the sign-in provider names an address that is not a URL');
  const host = hostOf(url);
  const local = rules.loopback === true && (host === 'localhost' || (isIP(host) !== 0 && isLoopback(host)));
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && local))
    throw new MillraceError('E_PROVIDER', `the sign-in provider’s address has to begin with https: ${url.origin}`);
  if (url.username !== '' || url.password !== '')
    throw new MillraceError('E_PROVIDER', 'the sign-in provider’s address contains a user name');
  if (isIP(host) !== 0) requireAddress(host, rules);
  return url;
}

const hostOf = ({ hostname }: URL): string => hostname.replace(/^\[|\]$/g, '');
const isLoopback = (host: string) => loopback.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4');

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
