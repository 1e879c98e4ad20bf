import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Closer } from '@millrace/base';
import { resultOf } from '@millrace/testkit/cli/helpers';
import { type ConsolePeople, chromium, consolePeople } from '@millrace/testkit/console/people';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

if (chromium === undefined) console.log('webhooks in the console: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('webhooks in the console', () => {
  const closer = new Closer();
  let system: TestInstallation;
  let people: ConsolePeople;
  let origin: string;
  let url: string;
  const received: { body: string; headers: Record<string, string> }[] = [];

  beforeAll(async () => {
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        received.push({ body, headers: request.headers as Record<string, string> });
        response.writeHead(204).end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closer.add({
      close: () => {
        server.closeAllConnections();
        server.close();
      },
    });
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/millrace`;
    const webhooks = { networks: ['127.0.0.0/8'], http: true };
    system = closer.add(
      await createTestInstallation({
        ...{ console: true, start: ['control', 'distribution'] },
        settings: { control: { webhooks } },
      }),
    );
    origin = `http://localhost:${system.addresses.console?.port}`;
    people = closer.add(await consolePeople(origin));
  }, 120_000);
  afterAll(() => closer.close());

  it('are signed in the browser, and send what their page shows', { timeout: 120_000 }, async () => {
    const run = <T>(...argv: string[]) => resultOf<T>(system.home, argv);
    const { organisation } = await run<{ organisation: string }>('org', 'create', 'Brand', '--kind', 'brand');
    const invite = ['user', 'invite', 'Ada', '--org', organisation, '--role', 'owner-admin', 'designer'];
    const ada = await people.person();
    await people.enrol(ada, (await run<{ text: string }>(...invite)).text, 'office');
    await ada.goto(`${origin}/#/people`);
    const card = ada.locator('section', { has: ada.getByRole('heading', { name: 'Webhooks' }) });
    await card.getByText('New webhook').click();
    await card.getByLabel('Name').fill('erp');
    await card.getByLabel('Address').fill('ftp://erp.example');
    await card.getByRole('button', { name: 'Sign the webhook' }).click();
    await card.getByText('E_INPUT').waitFor();
    await card.getByLabel('Address').fill(url);
    await card.getByLabel('prints').check();
    await card.getByRole('button', { name: 'Sign the webhook' }).click();
    const secret = await card.getByLabel('Secret').inputValue();

    const erp = card.locator('[data-webhook=erp]');
    await erp.getByText('Change …').click();
    await erp.getByRole('button', { name: 'Send a test' }).click();
    await vi.waitFor(() => expect(received).toHaveLength(1), { timeout: 30_000 });
    const [{ body, headers } = { body: '', headers: {} }] = received;
    expect(new Webhook(secret).verify(body, headers)).toMatchObject({ type: 'test', data: {} });
    await erp.getByText('Messages', { exact: true }).click();
    await erp.getByRole('cell', { name: 'received' }).waitFor();
    expect(await people.findings(ada, 'console-webhooks')).toEqual([]);
    await ada.emulateMedia({ colorScheme: 'dark' });
    await ada.setViewportSize({ width: 390, height: 844 });
    await card.scrollIntoViewIfNeeded();
    expect(await people.findings(ada, 'console-webhooks-phone')).toEqual([]);

    await erp.getByRole('button', { name: 'Turn off' }).click();
    await card.locator('[data-webhook=erp][data-webhook-state=off]').waitFor();
    await erp.getByRole('button', { name: 'Turn on' }).click();
    await vi.waitFor(() => expect(received.at(-1)?.body).toContain('"reset"'), { timeout: 30_000 });
    await card.locator('[data-webhook=erp][data-webhook-state=on]').waitFor();
    await erp.getByRole('button', { name: 'Delete' }).click();
    await card.getByText('There are no webhooks.').waitFor();
    expect(people.complaints).toEqual([]);
  });
});
