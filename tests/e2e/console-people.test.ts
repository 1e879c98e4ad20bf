import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Closer } from '@millrace/base';
import { enrolled, refusalOf, resultOf } from '@millrace/testkit/cli/helpers';
import { type ConsolePeople, chromium, consolePeople, type Page } from '@millrace/testkit/console/people';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

if (chromium === undefined) console.log('people and API in the console: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('the console’s pages for people and programs', () => {
  const closer = new Closer();
  let system: TestInstallation;
  let people: ConsolePeople;
  let origin: string;

  beforeAll(async () => {
    system = closer.add(await createTestInstallation({ console: true, machine: { factor: 200 } }));
    origin = `http://localhost:${system.addresses.console?.port}`;
    people = closer.add(await consolePeople(origin));
  }, 120_000);
  afterAll(() => closer.close());

  async function finish(page: Page, name: string): Promise<void> {
    expect([name, await people.findings(page, name)]).toEqual([name, []]);
  }

  it('documents the API to whoever looks', { timeout: 60_000 }, async () => {
    const page = await people.person({ colorScheme: 'dark' });
    await page.goto(`${origin}/#/api`);
    await page.getByLabel('Find a route').fill('prints list');
    const route = page.locator('[data-route="prints.list"]');
    await route.locator('summary').click();
    await route.getByText('prints:read', { exact: true }).waitFor();
    expect(await route.locator('pre').textContent()).toContain('/v1/prints');
    await finish(page, 'console-api');
    await page.setViewportSize({ width: 390, height: 844 });
    await page.goto(`${origin}/#/api/transactions.submit`);
    await page.locator('[data-route="transactions.submit"] pre').waitFor();
    await finish(page, 'console-api-phone');
    expect(people.complaints).toEqual([]);
  });
  it('lets an owner-admin manage people, tokens, usage and cases', { timeout: 180_000 }, async () => {
    const run = <T>(home: string, ...argv: string[]) => resultOf<T>(home, argv);
    const organisation = async (name: string, kind: string) =>
      (await run<{ organisation: string }>(system.home, 'org', 'create', name, '--kind', kind)).organisation;
    const invite = async (name: string, org: string, ...roles: string[]) =>
      (await run<{ text: string }>(system.home, 'user', 'invite', name, '--org', org, '--role', ...roles)).text;
    const [brand, bureau] = [await organisation('Brand', 'brand'), await organisation('Bureau', 'bureau')];
    const ada = await people.person();
    await people.enrol(ada, await invite('Ada', brand, 'owner-admin', 'designer'), 'office');
    const [dora, otto] = [join(system.scratch, 'dora'), join(system.scratch, 'otto')];
    await enrolled(otto, await invite('Otto', bureau, 'operator'));

    // Ada invites Dora in her browser.
    await ada.goto(`${origin}/#/people`);
    const form = ada.locator('details.card', { hasText: 'Invite somebody' });
    await form.locator('summary').click();
    await form.getByLabel('Name').fill('Dora');
    await form.getByLabel('designer:').check();
    await form.getByRole('button', { name: 'Sign the invitation' }).click();
    const invitation = await form.getByLabel('Invitation', { exact: true }).inputValue();
    await ada.locator('[data-invitation=Dora]').waitFor();
    await enrolled(dora, invitation);
    await expect(enrolled(join(system.scratch, 'thief'), invitation)).rejects.toThrow('E_INVITATION');

    // A token of hers reads licences and nothing else.
    const tokens = ada.locator('section', { has: ada.getByRole('heading', { name: 'API tokens' }) });
    await tokens.getByText('New API token').click();
    await tokens.getByLabel('Name').fill('reports');
    await tokens.getByLabel('licences:read').check();
    await tokens.getByRole('button', { name: 'Sign the token' }).click();
    const token = { MILLRACE_TOKEN: await tokens.getByLabel('Token', { exact: true }).inputValue() };
    expect(await resultOf(dora, ['licence', 'list'], token)).toMatchObject({ licences: [] });
    expect(await refusalOf(dora, ['object', 'list'], token)).toContain('E_SCOPE');

    await writeFile(join(system.scratch, 'part.gcode'), 'G28\nG1 X10 Y10 F6000\nG1 X20 Y10 E1\nG1 X20 Y20 E2\n');
    await run(dora, 'design', 'add', join(system.scratch, 'part.gcode'));
    const terms = ['--objects', '2', '--machine', system.machine, '--holder', bureau, '--price', '12.50 EUR'];
    const { licence } = await run<{ licence: string }>(dora, 'licence', 'grant', '--design', 'part.gcode', ...terms);
    const { object } = await run<{ object: string }>(otto, 'print', '--licence', licence, '--watch');
    await run(otto, 'case', 'open', object, '--reason', 'surface');

    await ada.goto(`${origin}/#/usage`);
    await ada.getByText('€12.50').waitFor();
    const saved = ada.waitForEvent('download');
    await ada.getByRole('button', { name: 'Save all records as CSV' }).click();
    expect(await readFile(await (await saved).path(), 'utf8')).toContain(
      `${object},completed,${brand},Brand,${bureau}`,
    );
    // A page that was loaded again knows of no recent gesture: an export asks for the passkey, and signs in anew.
    await ada.reload();
    const signedIn = ada.waitForRequest(
      (request) => request.method() === 'POST' && request.url().endsWith('/sessions'),
    );
    const savedAgain = ada.waitForEvent('download');
    await ada.getByRole('button', { name: 'Save all records as CSV' }).click();
    await Promise.all([signedIn, savedAgain]);
    await ada.locator('[data-case-state=open] summary').click();
    await finish(ada, 'console-usage');
    await ada.getByRole('button', { name: 'Credit one more object' }).click();
    await ada.locator('[data-case-state=credited]').waitFor();
    await ada.getByText('€0.00').waitFor();

    // The token and the key are revoked.
    await ada.goto(`${origin}/#/people`);
    const named = ada.locator('[data-token=reports]');
    await named.getByText('Revoke').first().click();
    await named.getByRole('button', { name: 'Revoke' }).click();
    await ada.locator('[data-token=reports][data-token-state=ended]').waitFor();
    expect(await refusalOf(dora, ['licence', 'list'], token)).toContain('E_TOKEN');
    const person = ada.locator('[data-person=Dora]');
    await person.locator('[data-key-state=valid]').getByText('Revoke').first().click();
    await person.getByRole('button', { name: 'Revoke' }).click();
    await person.locator('[data-key-state=revoked]').waitFor();
    expect(await refusalOf(dora, ['licence', 'list'])).toContain('E_REVOKED');
    await ada.getByText('signed in', { exact: true }).first().waitFor();
    await finish(ada, 'console-people');
    await ada.emulateMedia({ colorScheme: 'dark' });
    await ada.setViewportSize({ width: 390, height: 844 });
    await finish(ada, 'console-people-phone');
    expect(people.complaints).toEqual([]);
  });
  it('shows the platform to the administrator, by an address from the command line', { timeout: 90_000 }, async () => {
    const address = async (...user: string[]) =>
      (await resultOf<{ url: string }>(system.home, ['console', '--origin', origin, ...user])).url;
    const admin = await people.person();
    const url = await address();
    await admin.goto(url);
    // Nothing happens before somebody agrees: the address may be somebody else's.
    await admin.getByRole('button', { name: 'Open the session' }).waitFor();
    expect(await people.statusOf(admin, '/v1/sessions/current')).toBe(204);
    await admin.getByRole('button', { name: 'Open the session' }).click();
    await admin.locator('[data-node]').nth(3).waitFor();
    for (const { id } of system.installation.directory.nodes) await admin.locator(`[data-node="${id}"]`).waitFor();
    await finish(admin, 'console-platform');
    expect(await people.statusOf(admin, '/v1/metrics', 'POST')).toBe(405);

    // The address counts once.
    const thief = await people.person({ colorScheme: 'dark', viewport: { width: 390, height: 844 } });
    await thief.goto(url);
    await thief.getByRole('button', { name: 'Open the session' }).click();
    await thief.getByText('E_REPLAY').waitFor();
    // Other people do not see the platform.
    await thief.goto(await address('--user', 'owner'));
    await thief.getByRole('button', { name: 'Open the session' }).click();
    await thief.getByRole('heading', { name: 'Machines' }).waitFor();
    expect(await people.statusOf(thief, '/v1/metrics')).toBe(403);
    await thief.goto(`${origin}/#/platform`);
    await thief.getByText('The administrator sees this page.').waitFor();
    await finish(thief, 'console-platform-refused');
    await admin.emulateMedia({ colorScheme: 'dark' });
    await admin.setViewportSize({ width: 390, height: 844 });
    await finish(admin, 'console-platform-phone');
    expect(people.complaints).toEqual([]);
  });
});
