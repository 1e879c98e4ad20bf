import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { providerKeyThumbprint } from '@millrace/protocol';
import { outcomeOf } from '@millrace/testkit/protocol/support';
import { startProvider, type TestProvider } from '@millrace/testkit/sign-in-provider';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { discoverProvider, type ProviderRules, providerFetch, signInAtProvider } from '../src/node/index.ts';
import { listenForRedirect } from '../src/node/loopback-redirect.ts';
import { requireProviderUrl } from '../src/node/provider-fetch.ts';

const test: ProviderRules = { loopback: true };
const servers: { close(): unknown }[] = [];
afterAll(() => {
  for (const server of servers) server.close();
});
async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe('addresses of providers', () => {
  it('are public and use https', async () => {
    for (const url of ['https://8.8.8.8', 'https://[2600::1]/x', 'https://login.example.com'])
      expect(await outcomeOf(() => requireProviderUrl(url, {})), url).toBe('accepted');
    for (const host of [
      ...[
        '127.0.0.1',
        '127.1',
        '0x7f.1',
        '2130706433',
        '0.0.0.0',
        '10.1.2.3',
        '172.16.0.1',
        '192.168.1.1',
        '100.64.0.1',
      ],
      ...['169.254.169.254', '224.0.0.1', '255.255.255.255', '198.18.0.1', '[::1]', '[::]', '[fc00::1]', '[fe80::1]'],
      ...['[::ffff:127.0.0.1]', '[::ffff:8.8.8.8]', '[64:ff9b::a00:1]', '[2002:7f00:1::]', '[2001::1]'],
    ])
      expect(await outcomeOf(() => requireProviderUrl(`https://${host}/`, {})), host).toBe('E_PROVIDER');
    for (const url of [
      'http://8.8.8.8',
      'http://login.example.com',
      'file:///etc/passwd',
      'ftp://x',
      'https://a@b.example',
    ])
      expect(await outcomeOf(() => requireProviderUrl(url, {})), url).toBe('E_PROVIDER');
  });

  it('may be in a private network only if that is configured, and never link-local', async () => {
    const inside = { privateNetworks: true };
    expect(await outcomeOf(() => requireProviderUrl('https://10.1.2.3', inside))).toBe('accepted');
    for (const host of ['169.254.169.254', '127.0.0.1', '[fe80::1]', '[::ffff:10.1.2.3]'])
      expect(await outcomeOf(() => requireProviderUrl(`https://${host}`, inside)), host).toBe('E_PROVIDER');
    expect(await outcomeOf(() => requireProviderUrl('http://10.1.2.3', inside))).toBe('E_PROVIDER');
    expect(await outcomeOf(() => requireProviderUrl('http://10.1.2.3', test))).toBe('E_PROVIDER');
  });

  it('are checked after their name was resolved', async () => {
    expect(await outcomeOf(() => providerFetch('https://localhost:9/', {}, {}))).toBe('E_PROVIDER');
    expect(await outcomeOf(() => providerFetch('https://localhost:9/', {}, { privateNetworks: true }))).toBe(
      'E_PROVIDER',
    );
  });
});

describe('answers of providers', () => {
  it('are refused if they redirect or are too large', async () => {
    const target = await serve((_request, response) => response.end('internal'));
    const redirecting = await serve((_request, response) => response.writeHead(302, { location: target }).end());
    expect(await outcomeOf(() => providerFetch(redirecting, {}, test))).toBe('E_PROVIDER');
    const large = await serve((_request, response) => response.end('x'.repeat(300_000)));
    expect(await outcomeOf(() => providerFetch(large, {}, test))).toBe('E_PROVIDER');
    expect(await (await providerFetch(target, {}, test)).text()).toBe('internal');
    expect(await outcomeOf(() => providerFetch('http://127.0.0.1:1', {}, test))).toBe('E_UNAVAILABLE');
  });

  it('are refused if they point into another network, or name another issuer', async () => {
    const metadata = (issuer: string, changes: object) => ({
      ...{
        issuer,
        authorization_endpoint: `${issuer}/auth`,
        token_endpoint: `${issuer}/token`,
        jwks_uri: `${issuer}/keys`,
      },
      ...changes,
    });
    const provider = async (changes: object) => {
      let issuer = '';
      issuer = await serve((request, response) => {
        const body = request.url?.includes('openid') ? metadata(issuer, changes) : { keys: [{ kty: 'oct', k: 'AA' }] };
        response.setHeader('content-type', 'application/json').end(JSON.stringify(body));
      });
      return issuer;
    };
    for (const changes of [
      { jwks_uri: 'https://169.254.169.254/latest' },
      { jwks_uri: 'http://10.0.0.1/keys' },
      { authorization_endpoint: 'file:///etc/passwd' },
      { issuer: 'https://login.example.com' },
      {},
    ]) {
      const issuer = await provider(changes);
      expect(await outcomeOf(() => discoverProvider(issuer, 'x', test)), JSON.stringify(changes)).toBe('E_PROVIDER');
    }
  });
});

describe('the local redirect', () => {
  it('takes the answer with its state, once, and nothing else', async () => {
    const redirect = await listenForRedirect({});
    const answer = redirect.answer('right');
    const get = async (query: string, init = {}) => (await fetch(`${redirect.address}${query}`, init)).status;
    expect(await get('?code=x&state=wrong')).toBe(404);
    expect(await get('?code=x')).toBe(404);
    expect(await get('?code=x&state=right', { method: 'POST' })).toBe(404);
    expect(await get('?code=x&state=right')).toBe(200);
    expect((await answer).searchParams.get('code')).toBe('x');
    expect(new URL(redirect.address).hostname).toBe('127.0.0.1');
    await redirect.close();
  });
});

describe('a sign-in at a real provider', () => {
  let provider: TestProvider;
  beforeAll(async () => {
    provider = await startProvider({ ada: { email: 'ada@example.com', email_verified: true, groups: ['makers'] } });
  });
  afterAll(() => provider?.close());
  const signIn = async (keys?: Uint8Array<ArrayBuffer>[]) => ({
    ...{ issuer: provider.issuer, clientId: 'millrace' },
    keys: keys ?? [await providerKeyThumbprint(provider.key as never)],
  });

  it('gives an ID token with the nonce, and the pinned key', async () => {
    const { idToken, keys } = await signInAtProvider({
      ...{ signIn: await signIn(), rules: test, nonce: 'n'.repeat(43) },
      show: (address) => void provider.browse(address),
    });
    const claims = JSON.parse(Buffer.from(idToken.split('.')[1] ?? '', 'base64url').toString()) as object;
    expect(claims).toMatchObject({
      nonce: 'n'.repeat(43),
      email: 'ada@example.com',
      groups: ['makers'],
      aud: 'millrace',
    });
    expect(keys).toEqual([provider.key]);
  });

  it('is not begun without a pinned key', async () => {
    const unknown = await signIn([new Uint8Array(32)]);
    const show = () => expect.fail('a page was shown');
    expect(await outcomeOf(() => signInAtProvider({ signIn: unknown, rules: test, nonce: 'n', show }))).toBe(
      'E_SIGN_IN',
    );
  });

  it('fails if the provider refuses, or the answer has a code of somebody else', async () => {
    const show = (address: string) => {
      const url = new URL(address);
      const back = new URL(url.searchParams.get('redirect_uri') ?? '');
      back.search = new URLSearchParams({ state: url.searchParams.get('state') ?? '', ...answer }).toString();
      void fetch(back);
    };
    let answer: Record<string, string> = { error: 'access_denied' };
    const begin = async () => signInAtProvider({ signIn: await signIn(), rules: test, nonce: 'n', show });
    expect(await outcomeOf(begin)).toBe('E_PROVIDER');
    answer = { code: 'stolen', iss: provider.issuer };
    expect(await outcomeOf(begin)).toBe('E_PROVIDER');
  });
});
