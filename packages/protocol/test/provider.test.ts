import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { outcomeOf } from '@millrace/testkit/protocol/support';
import { afterAll, describe, expect, it } from 'vitest';
import { discoverProvider } from '../src/provider.ts';
import { type ProviderRules, providerFetch, requireProviderUrl } from '../src/provider-fetch.ts';

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
