import { Closer } from '@millrace/base';
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
    system = closer.add(await createTestInstallation({ console: true }));
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
});
