import { providerKeyThumbprint } from '@millrace/protocol';
import type { ProviderRules } from '@millrace/protocol/provider';
import { outcomeOf } from '@millrace/testkit/protocol/support';
import { startProvider, type TestProvider } from '@millrace/testkit/sign-in-provider';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { signInAtProvider } from '../src/node/index.ts';
import { listenForRedirect } from '../src/node/loopback-redirect.ts';

const test: ProviderRules = { loopback: true };

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
