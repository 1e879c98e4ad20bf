import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { Closer } from '@millrace/base';
import { enrolled, resultOf } from '@millrace/testkit/cli/helpers';
import { type ConsolePeople, chromium, consolePeople, type Page } from '@millrace/testkit/console/people';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const PASSPHRASE = 'correct horse battery';
const HOSTILE = 'Olga <img src=x onerror=alert(1)>';

if (chromium === undefined) console.log('the console in a browser: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('the console', () => {
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

  it('owner grants, operator prints, stranger verifies', { timeout: 180_000 }, async () => {
    const server = system.home;
    const run = <T>(home: string, ...argv: string[]) => resultOf<T>(home, argv);
    const organisation = async (name: string, kind: string) =>
      (await run<{ organisation: string }>(server, 'org', 'create', name, '--kind', kind)).organisation;
    const [brand, bureau] = [await organisation('Brand', 'brand'), await organisation('Bureau', 'bureau')];
    const invite = async (name: string, org: string, role: string) =>
      (await run<{ text: string }>(server, 'user', 'invite', name, '--org', org, '--role', role)).text;

    // Dora has a computer; her browser is one more device.
    const dora = join(system.scratch, 'dora');
    await enrolled(dora, await invite('Dora', brand, 'designer'));
    const device = (await run<{ text: string }>(dora, 'user', 'add-device')).text;
    const owner = await people.person();
    await people.enrol(owner, device, 'browser');
    await writeFile(join(system.scratch, 'part.gcode'), 'G28\nG1 X10 Y10 F6000\nG1 X20 Y10 E1\nG1 X20 Y20 E2\n');
    await run(dora, 'design', 'add', join(system.scratch, 'part.gcode'));

    await owner.goto(`${origin}/#/licences`);
    await owner.getByText('New licence').click();
    await owner.getByLabel('Objects').fill('3');
    await owner.getByRole('checkbox', { name: /^virtual/ }).check();
    await finish(owner, 'console-grant');
    await owner.getByRole('button', { name: 'Sign the licence' }).click();
    await owner.getByText('The licence is signed and granted.').waitFor();
    const strip = owner.locator('.strip li');
    await strip.first().waitFor();
    expect(await strip.count()).toBe(3);

    // Otto's browser had a cookie that somebody else has chosen.
    const operator = await people.person();
    const chosen = { name: `millrace-${new URL(origin).port}`, value: 'A'.repeat(43), url: origin };
    await operator.context().addCookies([chosen]);
    await people.enrol(operator, await invite('Otto', bureau, 'operator'), 'workshop');
    const [cookie] = await operator.context().cookies(origin);
    expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict' });
    expect(cookie?.value).not.toBe(chosen.value);
    await operator.locator('[data-state=idle]').waitFor();
    await finish(operator, 'console-machines');

    await operator.goto(`${origin}/#/licences`);
    await operator.locator('.checks [data-ok=true]').nth(3).waitFor();
    await operator.getByRole('button', { name: 'Print one object' }).click();
    await operator.locator('[data-print-state=completed]').waitFor({ timeout: 120_000 });
    await finish(operator, 'console-prints');
    await operator.locator('.print a').click();
    await operator.locator('[data-verdict=good]').waitFor();
    const object = (await operator.evaluate("location.hash.split('/')[2]")) as string;

    await operator.goto(`${origin}/#/licences`);
    await operator.locator('.strip [data-state=completed]').waitFor();
    await finish(operator, 'console-licence');

    await compareStrip(owner);

    // A stranger has the certificate, and no session.
    const bytes = await operator.evaluate(
      `fetch('/v1/objects/${object}/certificate').then((a) => a.arrayBuffer()).then((b) => [...new Uint8Array(b)])`,
    );
    const stranger = await people.person();
    await stranger.goto(`${origin}/#/certificate`);
    const buffer = Buffer.from(bytes as number[]);
    const file = { name: 'part.millrace', mimeType: 'application/octet-stream', buffer };
    await stranger.locator('input[type=file]').setInputFiles(file);
    await stranger.locator('[data-verdict=good]').waitFor();
    expect(await people.statusOf(stranger, `/v1/objects/${object}`)).toBe(401);

    // Somebody of another company, with a hostile name.
    const other = await people.person();
    await people.enrol(
      other,
      await invite(HOSTILE, await organisation('Other', 'bureau'), 'operator'),
      'browser',
      PASSPHRASE,
    );
    await other.getByText(HOSTILE).waitFor();
    expect(await other.locator('header img').count()).toBe(0);
    for (const path of [`/v1/objects/${object}`, `/v1/objects/${object}/certificate`])
      expect([path, await people.statusOf(other, path)]).toEqual([path, 403]);
    await other.goto(`${origin}/#/licences`);
    await other.getByText('No licence names you yet.').waitFor();

    // The session ends; the key of the browser opens another one.
    await operator.getByRole('button', { name: 'Sign out' }).click();
    await expect.poll(() => people.statusOf(operator, '/v1/prints')).toBe(401);
    await operator.goto(`${origin}/#/sign-in`);
    await operator.getByRole('button', { name: 'Sign in', exact: true }).click();
    await operator.getByRole('heading', { name: 'Machines' }).waitFor();

    await attackAcrossSites(operator);

    // Control ends while pages are open, and is started again: its sessions have ended, unless they are in Cassandra.
    await other.goto(`${origin}/#/machines`);
    await other.locator('[data-state=idle]').waitFor();
    await system.processes.control.kill();
    await other.getByText('The server does not answer.').waitFor();
    await system.processes.control.start();
    if (process.env.MILLRACE_TEST_STATE === 'cluster') {
      await other.getByText('The server does not answer.').waitFor({ state: 'hidden' });
      expect(await people.statusOf(other, '/v1/machines')).toBe(200);
    } else {
      await other.getByText('Sign in to see this page.').waitFor();
      await other.getByRole('link', { name: 'Sign in' }).first().click();
      await other.getByLabel('Passphrase').fill(PASSPHRASE);
      await other.getByRole('button', { name: 'Sign in', exact: true }).click();
    }
    await other.locator('[data-state]').first().waitFor();
    expect(people.complaints).toEqual([]);
  });

  /** A page of another port is of the same site for cookies. Its requests carry the cookie, and are refused. */
  /** The owner compares the strip with the ledger, of an honest server, and of one that shows another state. */
  async function compareStrip(owner: Page): Promise<void> {
    const compare = owner.getByRole('button', { name: 'Check against the ledger' });
    await owner.goto(`${origin}/#/licences`);
    await owner.locator('.strip [data-state=completed]').waitFor();
    await compare.click();
    await owner.locator('[data-strip=right]').waitFor();
    expect(await owner.locator('.strip [data-checked=true]').count()).toBe(3);
    await finish(owner, 'console-strip');
    const objects = /\/v1\/objects\?/;
    await owner.route(objects, async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: (await response.text()).replaceAll('"completed"', '"failed"') });
    });
    await owner.reload();
    await owner.locator('.strip [data-state=failed]').waitFor();
    await compare.click();
    await owner.locator('[data-strip=wrong]').getByText('E_LEDGER_PROOF').waitFor();
    expect(await owner.locator('.strip [data-checked=false]').count()).toBe(1);
    await finish(owner, 'console-strip-forged');
    await owner.unroute(objects);
    await owner.reload();
  }

  async function attackAcrossSites(victim: Page): Promise<void> {
    const evil = createServer((_request, response) => {
      response.setHeader('content-type', 'text/html').end(`<title>evil</title><iframe src="${origin}/"></iframe>`);
    });
    await new Promise<void>((resolve) => evil.listen(0, '127.0.0.1', resolve));
    const address = evil.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const page = await victim.context().newPage();
    try {
      await page.goto(`http://localhost:${port}/`);
      // The frame shows nothing of the console.
      expect(await page.frames()[1]?.locator('.brand').count()).toBe(0);
      const answer = page.waitForResponse((response) => response.request().method() === 'POST');
      const form = `<form method="post" action="${origin}/v1/sessions/current"></form>`;
      await page.evaluate(`document.body.innerHTML = ${JSON.stringify(form)}; document.forms[0].submit()`);
      const refused = await answer;
      expect((await refused.request().allHeaders()).cookie).toContain('millrace-');
      expect(refused.status()).toBe(401);
      expect(await people.statusOf(victim, '/v1/sessions/current')).toBe(200);
    } finally {
      await page.close();
      evil.closeAllConnections();
      evil.close();
    }
  }
});
