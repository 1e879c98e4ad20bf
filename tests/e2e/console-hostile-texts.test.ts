import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Closer } from '@millrace/base';
import { enrolled, resultOf } from '@millrace/testkit/cli/helpers';
import { englishOn, englishTexts } from '@millrace/testkit/console/english';
import { type ConsolePeople, chromium, consolePeople, type Page } from '@millrace/testkit/console/people';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Cross-site scripting: every party writes a page into each text that others see. Pages show it as text.

const PAGE = '<img src=x onerror=alert(1)>';

if (chromium === undefined) console.log('hostile texts in the console: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('texts of hostile parties at the console', () => {
  const closer = new Closer();
  let system: TestInstallation;
  let people: ConsolePeople;
  let origin: string;
  /** Pages of people, once they are signed in. */
  const visitors: Partial<Record<'owner' | 'operator' | 'stranger', Page>> = {};
  /** Requests that a text has caused. */
  const caused: string[] = [];

  beforeAll(async () => {
    system = closer.add(await createTestInstallation({ console: true, machine: { factor: 200 } }));
    origin = `http://localhost:${system.addresses.console?.port}`;
    people = closer.add(await consolePeople(origin));
  }, 120_000);
  afterAll(() => closer.close());

  async function person(): Promise<Page> {
    const page = await people.person();
    page.setDefaultTimeout(30_000);
    page.on('request', (request) => {
      if (new URL(request.url()).pathname === '/x') caused.push(page.url());
    });
    return page;
  }

  /** Waits until the page shows all texts, as texts. */
  async function shows(page: Page, path: string, ...texts: readonly string[]): Promise<void> {
    await page.goto(`${origin}/#/${path}`);
    // Again and again: the page before may still be there, and details of this one appear as it loads.
    const open = 'for (const details of document.querySelectorAll("main details")) details.open = true';
    const areShown = async () => {
      await page.evaluate(open);
      return Promise.all(texts.map((text) => page.getByText(text, { exact: false }).first().isVisible()));
    };
    await expect.poll(areShown, { timeout: 30_000, message: path }).toEqual(texts.map(() => true));
    const made = 'document.querySelectorAll("img[src=x], [onerror], main script, main iframe").length';
    expect([path, await page.evaluate(made)]).toEqual([path, 0]);
  }

  it('stay texts on every page that shows them', { timeout: 180_000 }, async () => {
    const run = <T>(home: string, ...argv: string[]) => resultOf<T>(home, argv);
    const organisation = async (name: string, kind: string) =>
      (await run<{ organisation: string }>(system.home, 'org', 'create', `${name}${PAGE}`, '--kind', kind))
        .organisation;
    const invite = async (name: string, org: string, ...roles: string[]) => {
      const argv = ['user', 'invite', `${name}${PAGE}`, '--org', org, '--role', ...roles];
      return (await run<{ text: string }>(system.home, ...argv)).text;
    };
    const [brand, bureau] = [await organisation('Brand', 'brand'), await organisation('Bureau', 'bureau')];
    const [dora, otto, carla] = ['dora', 'otto', 'carla'].map((name) => join(system.scratch, name)) as [
      string,
      string,
      string,
    ];
    await enrolled(dora, await invite('Dora', brand, 'owner-admin', 'designer'));
    await enrolled(otto, await invite('Otto', bureau, 'operator'));
    await enrolled(carla, await invite('Carla', await organisation('ACME', 'supplier'), 'certifier'));

    // A design with a page as its name and in its comments, a licence, a print, a failure and its report.
    const name = `${PAGE}.gcode`;
    const file = join(system.scratch, name);
    const lines = [';LAYER:0', `;TYPE:${PAGE}`, `; <script>alert(1)</script> ${PAGE}`, `M117 ${PAGE}`, 'G28'];
    await writeFile(file, `${lines.join('\n')}\nG1 X10 Y10 F6000\nG1 X20 Y10 E1\nG1 X20 Y20 E2\n`);
    await run(dora, 'design', 'add', file);
    const terms = ['--objects', '2', '--machine', system.machine, '--holder', bureau, '--price', '12.50 EUR'];
    const { licence } = await run<{ licence: string }>(dora, 'licence', 'grant', '--design', name, ...terms);
    const { object } = await run<{ object: string }>(otto, 'print', '--licence', licence, '--watch');
    await run(otto, 'case', 'open', object, '--reason', 'other', '--note', `Failed ${PAGE}`);
    await run(dora, 'case', 'decide', object, '--deny', '--note', `Denied ${PAGE}`);
    await run(dora, 'token', 'create', '--name', `Token${PAGE}`, '--scope', 'ledger:read');
    const pla = ['material', 'certify', '--name', `PLA${PAGE}`, '--batch', 'B1', '--spool', 'AC-1', '--grams', '1000'];
    const { code } = await run<{ code: string }>(carla, ...pla, '--diameter', '1.75', '--density', '1.24');

    const owner = await person();
    visitors.owner = owner;
    await people.enrol(owner, (await run<{ text: string }>(dora, 'user', 'add-device')).text, `Browser${PAGE}`);
    const operator = await person();
    visitors.operator = operator;
    await people.enrol(operator, (await run<{ text: string }>(otto, 'user', 'add-device')).text, `Desk${PAGE}`);

    // The label of a spool is anybody's text; the material's name is its supplier's.
    await operator.getByText('Load a spool').click();
    await operator.getByLabel('Code on its label').fill(PAGE);
    await operator.getByRole('button', { name: 'Sign that it is loaded' }).click();
    await operator.getByText('E_INPUT').waitFor();
    await operator.getByLabel('Code on its label').fill(code);
    await operator.getByRole('button', { name: 'Sign that it is loaded' }).click();
    await operator.getByText(`PLA${PAGE}`).first().waitFor();
    await shows(operator, 'machines', `PLA${PAGE}`, `ACME${PAGE}`, `Otto${PAGE}`);
    await shows(operator, 'licences', licence.slice(0, 8));
    await shows(operator, 'prints', object.slice(0, 8), `Otto${PAGE}, Bureau${PAGE}`);
    await shows(operator, 'people', `Otto${PAGE}`, `Desk${PAGE}`);

    await shows(owner, 'designs', 'seal');
    await shows(owner, 'licences', licence.slice(0, 8));
    await shows(owner, 'usage', `Denied ${PAGE}`);
    await shows(owner, 'people', `Dora${PAGE}`, `Browser${PAGE}`, `Token${PAGE}`);
    await shows(owner, 'view');
    await owner.locator('input[type=file]').first().setInputFiles(file);
    await owner.getByText(name).first().waitFor();
    expect(await owner.evaluate('document.querySelectorAll("img[src=x], main script").length')).toBe(0);

    // A certificate, and an address whose parts are shown.
    const stranger = await person();
    visitors.stranger = stranger;
    const kept = join(system.scratch, 'part.millrace');
    await run(dora, 'certificate', 'export', object, '--out', kept);
    await stranger.goto(`${origin}/#/certificate`);
    const buffer = await readFile(kept);
    await stranger
      .locator('input[type=file]')
      .setInputFiles({ name: `${PAGE}.millrace`, mimeType: 'application/octet-stream', buffer });
    await stranger.locator('[data-verdict=good]').waitFor();
    for (const path of ['certificate', 'ledger', 'api', 'sign-in', 'session', 'machines', ''])
      await shows(stranger, `${path}/${encodeURIComponent(PAGE)}`);

    expect(caused).toEqual([]);
    expect(people.complaints).toEqual([]);

    // The control: in a page that takes texts for markup, the same text runs. The console's policy forbids that, too.
    const bare = await (await people.person()).context().newPage();
    const ran = new Promise((resolve) => bare.once('dialog', (dialog) => dialog.dismiss().then(resolve)));
    await bare.setContent(PAGE);
    await ran;
    const taken = `document.querySelector('main').innerHTML = ${JSON.stringify(PAGE)}`;
    await expect(stranger.evaluate(taken)).rejects.toThrow('TrustedHTML');
  });

  it('stand among German words on every page in German', { timeout: 120_000 }, async () => {
    const english = englishTexts();
    expect(english.size).toBeGreaterThan(300);
    const admin = await person();
    const { url } = await resultOf<{ url: string }>(system.home, ['console', '--origin', origin]);
    await admin.goto(url);
    await admin.getByRole('button', { name: 'Open the session' }).click();
    await admin.locator('[data-node]').first().waitFor();
    const { owner, operator, stranger } = visitors;
    const walks: readonly (readonly [Page | undefined, readonly string[]])[] = [
      [operator, ['machines', 'licences', 'prints', 'people', 'sign-in', 'machines']],
      [owner, ['designs', 'licences', 'prints', 'usage', 'people', 'view']],
      [admin, ['platform', 'people', 'machines']],
      [
        stranger,
        ['', 'certificate', 'certificate/none', 'ledger', 'ledger/0', 'ledger/999999', 'api', 'sign-in', 'people'],
      ],
    ];
    const leaks: string[] = [];
    for (const [page, paths] of walks) {
      if (page === undefined) throw new Error('nobody is signed in');
      await page.goto(`${origin}/#/`);
      await page.locator('header select').selectOption('de');
      for (const path of paths) {
        await page.goto(`${origin}/#/${path}`);
        await page.locator('main h1, main .card').first().waitFor();
        const loading = page.locator('main [role=status]').filter({ hasText: 'Wird geladen' });
        await loading
          .first()
          .waitFor({ state: 'detached', timeout: 10_000 })
          .catch(() => leaks.push(`${path}: it does not end to load`));
        await page.evaluate("for (const details of document.querySelectorAll('main details')) details.open = true");
        leaks.push(...(await englishOn(page, english)).map((text) => `${path}: ${text}`));
      }
    }
    expect(leaks).toEqual([]);
    // The detector sees a leak: the same pages in English.
    await stranger?.goto(`${origin}/#/ledger`);
    await stranger?.locator('header select').selectOption('en');
    // Not marked as English, unlike the whole page then.
    await stranger?.evaluate("document.documentElement.lang = 'de'");
    await expect.poll(async () => (await englishOn(stranger as Page, english)).length).toBeGreaterThan(5);
    expect(people.complaints).toEqual([]);
  });
});
