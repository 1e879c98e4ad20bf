import { join } from 'node:path';
import { Closer } from '@millrace/base';
import { signInPerson } from '@millrace/protocol';
import { enrolled, resultOf } from '@millrace/testkit/cli/helpers';
import { type ConsolePeople, chromium, consolePeople } from '@millrace/testkit/console/people';
import { CLIENT, startProvider, type TestProvider } from '@millrace/testkit/sign-in-provider';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// People of a company sign in at its provider, in a browser: to read, and to enrol a key with which they sign.

if (chromium === undefined) console.log('company sign-in in a browser: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('company sign-in at the console', () => {
  const closer = new Closer();
  let system: TestInstallation;
  let people: ConsolePeople;
  let provider: TestProvider;
  let origin: string;

  beforeAll(async () => {
    const environment = { control: { env: { MILLRACE_OIDC_LOOPBACK: '1' } } };
    system = closer.add(
      await createTestInstallation({ console: true, start: ['control', 'distribution'], environment }),
    );
    origin = `http://localhost:${system.addresses.console?.port}`;
    const staff = { dora: { email: 'dora@example.com', email_verified: true, groups: ['makers'] } };
    provider = closer.add(await startProvider(staff, [`${origin}/`]));
    people = closer.add(await consolePeople(origin, { others: [provider.issuer] }));
  }, 120_000);
  afterAll(() => closer.close());

  const run = <T>(home: string, ...argv: string[]) => resultOf<T>(home, argv, { MILLRACE_OIDC_LOOPBACK: '1' });

  it('reads with a session of the company’s sign-in, and signs with a key that it vouches for', {
    timeout: 180_000,
  }, async () => {
    const create = ['org', 'create', 'Brand', '--kind', 'brand'];
    const { organisation } = await run<{ organisation: string }>(system.home, ...create);
    const role = ['--org', organisation, '--role', 'owner-admin'];
    const ada = join(system.scratch, 'ada');
    await enrolled(ada, (await run<{ text: string }>(system.home, 'user', 'invite', 'Ada', ...role)).text);
    const set = ['org', 'set-sign-in', '--issuer', provider.issuer, '--client-id', CLIENT];
    const { text } = await run<{ text: string }>(ada, ...set, '--map', 'makers=designer', '--domain', 'example.com');
    const address = `${origin}/#/sign-in/${encodeURIComponent(text)}`;
    const finish = async (page: typeof dora, name: string) => {
      expect([name, await people.findings(page, name)]).toEqual([name, []]);
      expect([name, await people.findingsOnPhone(page, name)]).toEqual([name, []]);
    };

    const dora = await people.person();
    await dora.goto(address);
    await dora.getByRole('button', { name: 'Sign in to read' }).click();
    // The person sees whose provider it is before leaving.
    await dora.getByText('Brand has its people sign in').waitFor();
    await dora.getByText(provider.issuer, { exact: true }).waitFor();
    await finish(dora, 'console-company');
    await dora.getByRole('button', { name: 'Go there' }).click();
    await dora.getByRole('heading', { name: 'Machines' }).waitFor();
    // Neither code nor state stays in the address.
    expect(dora.url()).toBe(`${origin}/#/machines`);
    const session = (await dora.context().cookies(origin)).find(({ name }) => !name.endsWith('-sign-in'));
    expect(session).toMatchObject({ httpOnly: true, sameSite: 'Strict' });
    await dora.getByText('dora@example.com, Brand').waitFor();
    expect(await people.statusOf(dora, '/v1/designs')).toBe(200);
    expect(await people.statusOf(dora, `/v1/organisations/${organisation}/sign-ins`)).toBe(403);
    await dora.goto(`${origin}/#/people`);
    await dora.getByText('Another device of yours').click();
    await dora.getByText('This browser has no key to sign with.').first().waitFor();

    // Login CSRF: a page sends somebody else's browser to an answer that its author has obtained.
    const mallory = await fetch(`${origin}/v1/company-sign-ins`, {
      ...{ method: 'POST', headers: { 'content-type': 'application/json', origin } },
      body: JSON.stringify({ organisation }),
    });
    const { address: asked } = (await mallory.json()) as { address: string };
    const answer = await provider.signIn(asked);
    const victim = await people.person();
    await victim.goto(answer);
    await victim.getByText('this browser has begun no sign-in').waitFor();
    expect(victim.url()).toBe(`${origin}/#/sign-in`);
    expect(await people.statusOf(victim, '/v1/designs')).toBe(401);
    // In a browser that has a session, the session stays whose it was.
    await dora.goto(answer);
    await dora.getByText('this browser has begun no sign-in').waitFor();
    await dora.getByText('dora@example.com, Brand').waitFor();

    // Dora makes a key in this browser.
    await dora.goto(`${origin}/#/sign-in`);
    await dora.reload();
    await dora.getByLabel('Name of this browser').fill('desk');
    await finish(dora, 'console-company-key');
    await dora.getByRole('button', { name: 'Make a key, kept by a passkey' }).click();
    await dora.getByText('Your company vouches for this browser’s key').waitFor();
    await finish(dora, 'console-company-finish');
    await dora.getByRole('button', { name: 'Finish' }).click();
    await dora.getByRole('heading', { name: 'Machines' }).waitFor();
    await dora.goto(`${origin}/#/people`);
    await dora.getByText('desk', { exact: false }).first().waitFor();
    const before = await dora.locator('[data-person="dora@example.com"] [data-key-state]').count();
    expect(before).toBe(1);
    // The key signs, and opens a session by itself.
    await dora.getByText('Another device of yours').click();
    await dora.getByRole('button', { name: 'Sign an invitation for it' }).click();
    await dora.getByText('It is shown once and works once.', { exact: false }).waitFor();
    await dora.getByRole('button', { name: 'Sign out' }).click();
    await expect.poll(() => people.statusOf(dora, '/v1/designs')).toBe(401);
    await dora.goto(`${origin}/#/sign-in`);
    await dora.getByRole('button', { name: 'Sign in', exact: true }).click();
    await dora.getByRole('heading', { name: 'Machines' }).waitFor();

    // The same key is renewed.
    await dora.goto(`${origin}/#/sign-in`);
    await dora.getByRole('button', { name: 'Renew this browser’s key' }).click();
    await dora.getByRole('button', { name: 'Renew this browser’s key' }).click();
    await dora.getByRole('button', { name: 'Finish' }).click();
    await dora.getByRole('heading', { name: 'Machines' }).waitFor();
    await dora.goto(`${origin}/#/people`);
    await dora.locator('[data-person="dora@example.com"]').waitFor();
    expect(await dora.locator('[data-person="dora@example.com"] [data-key-state]').count()).toBe(1);

    // Dora leaves the company: a session by its sign-in ends, too.
    const second = await people.person();
    await second.goto(address);
    await second.getByRole('button', { name: 'Sign in to read' }).click();
    await second.getByRole('button', { name: 'Go there' }).click();
    await second.getByRole('heading', { name: 'Machines' }).waitFor();
    await run(ada, 'user', 'revoke', signInPerson(organisation, provider.issuer, 'dora'));
    // 403 ends the session. It goes to the first request, which may be one that the page makes by itself.
    expect(await people.statusOf(second, '/v1/designs')).toBeOneOf([403, 401]);
    expect(await people.statusOf(second, '/v1/designs')).toBe(401);
    expect(people.complaints.filter((complaint) => !complaint.startsWith(provider.issuer))).toEqual([]);
  });
});
