import { join } from 'node:path';
import { cli, enrolled } from '@millrace/testkit/cli/helpers';
import { CLIENT, startProvider, type TestProvider } from '@millrace/testkit/sign-in-provider';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

// People of a company enrol keys by signing in at its provider, on computers that have nothing of the server but the
// public text of the organisation's sign-in.

let system: TestInstallation;
let provider: TestProvider;
beforeAll(async () => {
  system = await createTestInstallation({ start: ['control', 'distribution'] });
  provider = await startProvider({
    dora: { email: 'dora@example.com', email_verified: true, groups: ['makers'] },
    eva: { email: 'eva@example.com', email_verified: true, groups: ['makers'] },
    visitor: { email: 'vic@example.com', email_verified: true, groups: ['visitors'] },
  });
}, 120_000);
afterAll(async () => {
  await Promise.all([system?.close(), provider?.close()]);
});

const folder = (name: string) => join(system.scratch, name);

/** Runs a command. If it shows an address of the provider, the person signs in there. */
async function command(home: string, argv: string[], env: Record<string, string> = {}) {
  let stderr = '';
  const write = (text: string) => {
    stderr += text;
    const address = /^http:\S+$/m.exec(text)?.[0];
    if (address !== undefined) void provider.browse(address);
  };
  const changes = { env: { MILLRACE_OIDC_LOOPBACK: '1', ...env }, stderr: { write } };
  const { exit, stdout } = await cli([...argv, '--home', home, '--json'], changes);
  return { exit, stdout, stderr };
}
async function run<T = Record<string, never>>(home: string, argv: string[], env = {}): Promise<T> {
  const { exit, stdout, stderr } = await command(home, argv, env);
  if (exit !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as T;
}
async function refusal(home: string, argv: string[], env = {}): Promise<string> {
  const { exit, stderr } = await command(home, argv, env);
  expect(exit, stderr).not.toBe(0);
  return stderr;
}

interface Joined {
  readonly key: string;
  readonly person: string;
  readonly name: string;
  readonly roles: string[];
  readonly until: number;
}

it('people sign in at their company’s provider, and a revoked person cannot again', { timeout: 120_000 }, async () => {
  const { organisation } = await run<{ organisation: string }>(system.home, [
    'org',
    'create',
    'Brand',
    '--kind',
    'brand',
  ]);
  const invite = (name: string, role: string) =>
    run<{ text: string }>(system.home, ['user', 'invite', name, '--org', organisation, '--role', role]);
  const ada = folder('ada');
  await enrolled(ada, (await invite('Ada', 'owner-admin')).text);

  // The owner-admin names the provider. A designer cannot, and an address in the own network is refused.
  const set = ['org', 'set-sign-in', '--issuer', provider.issuer, '--client-id', CLIENT];
  const terms = ['--map', 'makers=designer', 'floor=operator,auditor', '--domain', 'Example.com'];
  expect(await refusal(ada, [...set, ...terms], { MILLRACE_OIDC_LOOPBACK: '' })).toContain('E_PROVIDER');
  expect(await refusal(ada, [...set, '--map', 'makers=owner-admin', '--domain', 'example.com'])).toContain('E_INPUT');
  const { text } = await run<{ text: string }>(ada, [...set, ...terms]);
  expect(await run(ada, ['org', 'sign-in'])).toMatchObject({ issuer: provider.issuer, domains: ['example.com'], text });

  // Dora's computer has the text only.
  const dora = folder('dora');
  const joined = await run<Joined>(dora, ['login', '--oidc', text, '--device', 'laptop']);
  expect(joined).toMatchObject({ name: 'dora@example.com', roles: ['designer'], organisation });
  expect(joined.until).toBeLessThanOrEqual(Date.now() + 7 * 86_400_000);
  expect(await run(dora, ['design', 'list'])).toEqual({ designs: [] });
  expect(await refusal(dora, [...set, ...terms])).toContain('E_FORBIDDEN');
  expect(await refusal(dora, ['user', 'invite', 'Eve', '--role', 'operator'])).toContain('E_FORBIDDEN');
  const { text: token } = await run<{ text: string }>(dora, [
    'token',
    'create',
    '--name',
    'ci',
    '--scope',
    'designs:read',
  ]);

  // Signing in again renews the same key; a second computer is the same person with another key.
  expect(await run<Joined>(dora, ['login', '--oidc', text])).toMatchObject({ key: joined.key, person: joined.person });
  const second = await run<Joined>(folder('second'), ['login', '--oidc', text]);
  expect(second.person).toBe(joined.person);
  expect(second.key).not.toBe(joined.key);
  provider.person = 'visitor';
  expect(await refusal(folder('visitor'), ['login', '--oidc', text])).toContain('E_SIGN_IN');
  provider.person = 'eva';
  const eva = folder('eva');
  await run(eva, ['login', '--oidc', text]);
  provider.person = 'dora';
  await run(ada, ['org', 'refresh-sign-in']);
  expect(await run<Joined>(dora, ['login', '--oidc', text])).toMatchObject({ key: joined.key });

  // Dora leaves: both keys, her token, and every further sign-in are refused.
  await run(ada, ['user', 'revoke', joined.person]);
  expect(await refusal(dora, ['design', 'list'])).toContain('E_REVOKED');
  expect(await refusal(folder('second'), ['design', 'list'])).toContain('E_REVOKED');
  expect(await refusal(dora, ['design', 'list', '--json'], { MILLRACE_TOKEN: token })).toContain('E_REVOKED');
  expect(await refusal(folder('third'), ['login', '--oidc', text])).toContain('E_REVOKED');

  // While the provider is down, invitations work. An owner-admin can end the sign-in without it.
  await provider.close();
  expect(await refusal(folder('fourth'), ['login', '--oidc', text])).toContain('E_UNAVAILABLE');
  const emil = await enrolled<Joined>(folder('emil'), (await invite('Emil', 'designer')).text);
  expect(emil).toMatchObject({ roles: ['designer'] });
  // The end of the sign-in is also that of keys that were enrolled before it was refreshed.
  expect(await run(eva, ['design', 'list'])).toEqual({ designs: [] });
  await run(ada, ['org', 'remove-sign-in']);
  expect(await refusal(eva, ['design', 'list'])).toContain('E_REVOKED');
  for (const then of ['sign-in', 'refresh-sign-in', 'remove-sign-in'])
    expect(await refusal(ada, ['org', then])).toContain('E_REVOKED');
});
