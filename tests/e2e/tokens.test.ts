import { request } from 'node:https';
import { join } from 'node:path';
import { createHttpClient, GUEST_NAME, tokenHash } from '@millrace/protocol';
import { enrolled, refusalOf, resultOf } from '@millrace/testkit/cli/helpers';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

// A person makes an API token; a script uses it in a folder that contains nothing but the installation's public text.

let system: TestInstallation;
beforeAll(async () => {
  system = await createTestInstallation({ start: ['control', 'distribution'] });
}, 120_000);
afterAll(() => system?.close());

const folder = (name: string) => join(system.scratch, name);

interface Token {
  readonly token: string;
  readonly text: string;
  readonly installation: string;
}
interface Listed {
  readonly tokens: readonly { token: string; name: string; by: string; lastUsed?: number; revoked?: object }[];
}

/** What another program gets, with the installation's certificate authority and the name of the server verified. */
function get(path: string, headers: Record<string, string>): Promise<{ status: number; text: string }> {
  const { directory } = system.installation;
  return new Promise((resolve, reject) => {
    const options = { ...system.addresses.control, path, headers, ca: directory.authority, servername: GUEST_NAME };
    const outgoing = request({ ...options, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    outgoing.on('error', reject);
    outgoing.end();
  });
}

it('a script reads with a token, within its scopes, until it is revoked', { timeout: 120_000 }, async () => {
  const { organisation } = await resultOf<{ organisation: string }>(system.home, [
    'org',
    'create',
    'Brand',
    '--kind',
    'brand',
  ]);
  const invite = ['user', 'invite', 'Ada', '--org', organisation, '--role', 'owner-admin', 'designer'];
  const { text } = await resultOf<{ text: string }>(system.home, invite);
  await enrolled(folder('ada'), text);
  const make = (...scopes: string[]) =>
    resultOf<Token>(folder('ada'), ['token', 'create', '--name', 'ci', '--scope', ...scopes, '--days', '2']);
  const reading = await make('designs:read', 'people:read', 'ledger:read');

  // The script's computer: no certificate, no key.
  const script = folder('script');
  const env = { MILLRACE_TOKEN: reading.text };
  await resultOf(script, ['connect', reading.installation]);
  expect(await resultOf(script, ['design', 'list'], env)).toEqual({ designs: [] });
  const { organisations } = await resultOf<{ organisations: object[] }>(script, ['org', 'list'], env);
  expect(organisations).toMatchObject([{ organisation, name: 'Brand' }]);
  expect(await resultOf(script, ['ledger', 'verify'], env)).toMatchObject({ ok: true });
  expect(await refusalOf(script, ['status'], env)).toContain('E_SCOPE');
  expect(await refusalOf(script, ['print', '--licence', '00'], env)).toContain('E_SCOPE');
  expect(await refusalOf(script, ['org', 'create', 'Other', '--kind', 'brand'], env)).toContain('E_KEY_NEEDED');
  expect(await refusalOf(script, ['token', 'create', '--name', 'x', '--scope', 'status:read'], env)).toContain(
    'E_KEY_NEEDED',
  );
  expect(await refusalOf(script, ['design', 'list'])).toContain('E_NOT_FOUND');
  expect(await refusalOf(script, ['design', 'list'], { MILLRACE_TOKEN: `${reading.text.slice(0, -1)}` })).toContain(
    'E_TOKEN',
  );

  // Another program, over the guests' name.
  const shown = await get('/v1/designs', { 'x-api-key': reading.text });
  expect(shown).toEqual({ status: 200, text: '{"items":[]}' });
  expect((await get('/v1/status', { authorization: `Bearer ${reading.text}` })).text).toContain('E_SCOPE');
  expect((await get('/v1/designs', {})).text).toContain('E_AUTH');

  // Listed with who made it and when it was used; the hash of the signed document is the token's.
  const { tokens } = await resultOf<Listed>(folder('ada'), ['token', 'list']);
  expect(tokens).toMatchObject([{ token: reading.token, name: 'ci', by: 'Ada', lastUsed: expect.any(Number) }]);
  expect(JSON.stringify(tokens)).not.toContain(reading.text.slice(-43));
  expect(tokenHash(reading.text)).toHaveLength(32);

  await resultOf(folder('ada'), ['token', 'revoke', 'ci']);
  expect(await refusalOf(script, ['design', 'list'], env)).toContain('E_TOKEN');
  expect((await get('/v1/designs', { 'x-api-key': reading.text })).status).toBe(401);
  const after = await resultOf<Listed>(folder('ada'), ['token', 'list', '--org', 'Brand']);
  expect(after.tokens).toMatchObject([{ token: reading.token, revoked: { by: expect.any(String) } }]);

  // With the person's key, the tokens end.
  const second = await make('designs:read');
  expect(await resultOf(script, ['design', 'list'], { MILLRACE_TOKEN: second.text })).toEqual({ designs: [] });
  const { keys } = await resultOf<{ keys: { key: string }[] }>(system.home, ['user', 'list', '--org', organisation]);
  await resultOf(system.home, ['user', 'revoke', keys[0]?.key ?? '', '--org', organisation]);
  expect(await refusalOf(script, ['design', 'list'], { MILLRACE_TOKEN: second.text })).toContain('E_REVOKED');
});

it('a guest client without a token stays a guest', async () => {
  const { directory } = system.installation;
  const client = createHttpClient({ addresses: () => [system.addresses.control], tls: { directory } });
  await expect(client.call('GET', '/v1/tokens/current')).rejects.toMatchObject({ code: 'E_AUTH' });
  client.close();
});

it('Prometheus scrapes the metrics of all nodes with a token of the administrator', { timeout: 60_000 }, async () => {
  const create = [
    'token',
    'create',
    '--name',
    'prometheus',
    '--scope',
    'status:read',
    '--days',
    '2',
    '--user',
    'admin',
  ];
  const { text: token } = await resultOf<Token>(system.home, create);
  const scrape = () => get('/v1/metrics', { authorization: `Bearer ${token}` });
  await expect.poll(async () => (await scrape()).text, { timeout: 40_000 }).toContain('role="distribution"');
  const { status, text } = await scrape();
  expect(status).toBe(200);
  const rss = /^process_resident_memory_bytes\{node="([^"]+)",role="(\w+)"\} (\d+)$/gm;
  const nodes = [...text.matchAll(rss)].map(([, , role, bytes]) => [role, Number(bytes) > 1e7]);
  expect(nodes).toEqual([
    ['control', true],
    ['distribution', true],
  ]);
  expect(text).toMatch(/^millrace_http_seconds_count\{route="GET \/v1\/metrics",status="200",.*role="control"\} \d+$/m);
  expect(text).not.toContain(token.slice(-43));
  const printed = await resultOf<{ metrics: string }>(system.home, ['metrics']);
  expect(printed.metrics).toContain('# TYPE millrace_http_seconds summary');
});
