import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { Closer } from '@millrace/base';
import { resultOf } from '@millrace/testkit/cli/helpers';
import { type ConsolePeople, chromium, consolePeople, type Page } from '@millrace/testkit/console/people';
import { zipOf } from '@millrace/testkit/console/sliced-project';
import { createWireTap, type WireTap } from '@millrace/testkit/console/wire-tap';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const MARK = `design ${randomBytes(12).toString('hex')}`;
const NAME = `part ${randomBytes(6).toString('hex')}`;
/** Some bytes in hexadecimal, to make a file long without making its print long. */
const filler = () => `; ${MARK} ${randomBytes(100).toString('hex')}\n`;

if (chromium === undefined) console.log('uploads in a browser: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('an owner’s upload in the console', () => {
  const closer = new Closer();
  let system: TestInstallation;
  let people: ConsolePeople;
  let origin: string;
  let uploads: string;
  let taps: Record<'control' | 'distribution', WireTap>;

  beforeAll(async () => {
    system = closer.add(await createTestInstallation({ console: true, machine: { factor: 200 } }));
    const { console: pages, browsers } = system.addresses;
    if (pages === undefined || browsers === undefined) throw new Error('there is no console');
    origin = `http://localhost:${pages.port}`;
    uploads = `http://localhost:${browsers.port}`;
    // Everything that the browser sends goes through the taps.
    taps = {
      control: closer.add(await createWireTap(pages)),
      distribution: closer.add(await createWireTap(browsers)),
    };
    const rules = [
      `MAP localhost:${pages.port} 127.0.0.1:${taps.control.address.port}`,
      `MAP localhost:${browsers.port} 127.0.0.1:${taps.distribution.address.port}`,
    ];
    const flags = [`--host-resolver-rules=${rules.join(', ')}`];
    people = closer.add(await consolePeople(origin, { others: [uploads], flags }));
  }, 240_000);
  afterAll(() => closer.close());

  const run = <T>(home: string, ...argv: string[]) => resultOf<T>(home, argv);
  async function person(name: string, kind: string, role: string, page: Page): Promise<void> {
    const { organisation } = await run<{ organisation: string }>(system.home, 'org', 'create', name, '--kind', kind);
    const invited = ['user', 'invite', `${name} person`, '--org', organisation, '--role', role];
    await people.enrol(page, (await run<{ text: string }>(system.home, ...invited)).text, 'browser');
  }
  async function finish(page: Page, name: string): Promise<void> {
    expect([name, await people.findings(page, name)]).toEqual([name, []]);
  }
  const upload = async (page: Page, state: string) => {
    const shown = page.locator(`[data-upload=${state}], [data-upload=failed]`);
    await shown.first().waitFor({ timeout: 60_000 });
    expect([await shown.first().getAttribute('data-upload'), await page.locator('main').textContent()]).toEqual([
      state,
      expect.any(String),
    ]);
  };

  it('is sealed here, cut, continued after a reload, licensed and made', { timeout: 240_000 }, async () => {
    const lines = ['G28', 'G1 X10 Y10 F6000', 'G1 X20 Y10 E1'].map((line) => `${line} ; ${MARK}\n`);
    const content = Buffer.from([...lines, ...Array.from({ length: 12_000 }, filler), 'G1 X20 Y20 E2\n'].join(''));
    const file = join(system.scratch, `${NAME}.gcode`);
    await writeFile(file, content);

    const [owner, operator] = [await people.person(), await people.person()];
    await person('Brand', 'brand', 'designer', owner);
    await person('Bureau', 'bureau', 'operator', operator);
    await owner.goto(`${origin}/#/designs`);
    await owner.getByText('No design is stored yet.').waitFor();
    await finish(owner, 'console-designs');
    await owner.locator('.drop input').setInputFiles(file);
    // The path, before anything is sealed.
    await owner.locator('canvas').first().waitFor();
    await owner.getByRole('button', { name: 'Seal and upload' }).click();
    await upload(owner, 'sign');
    await finish(owner, 'console-upload-sign');
    // Nothing of the design has left the browser.
    expect(taps.distribution.sent().length).toBe(0);

    // A browser has six requests of 262 kB in flight: at least one has been answered.
    taps.distribution.hold(1_800_000);
    await owner.getByRole('button', { name: 'Sign and upload' }).click();
    await upload(owner, 'uploading');
    await expect.poll(() => taps.distribution.isHolding(), { timeout: 60_000 }).toBe(true);
    await finish(owner, 'console-upload');
    taps.distribution.cut();
    await owner.reload();
    await owner.locator('[data-interrupted]').waitFor();
    await finish(owner, 'console-upload-continue');
    const before = taps.distribution.sent().length;
    taps.distribution.mend();
    await owner.getByRole('button', { name: 'Continue' }).click();
    await owner.getByRole('button', { name: 'Sign and upload' }).click();
    await upload(owner, 'stored');
    const again = taps.distribution.sent().length - before;
    expect([before >= 1_800_000, again > 100_000, again < content.length]).toEqual([true, true, true]);
    await owner.getByRole('heading', { name: `${NAME}.gcode stored` }).waitFor();
    expect(await owner.locator('[data-interrupted]').count()).toBe(0);

    // Licensed on the same page, and made by the bureau.
    await owner.getByRole('checkbox', { name: /^virtual/ }).check();
    await seeAsOperator(owner);
    await owner.getByLabel('Objects').fill('1');
    await finish(owner, 'console-as-operator');
    await owner.getByRole('button', { name: 'Sign the licence' }).click();
    await owner.getByText('The licence is signed and granted.').waitFor();
    await operator.goto(`${origin}/#/licences`);
    await operator.locator('.checks [data-ok=true]').nth(3).waitFor();
    await operator.getByRole('button', { name: 'Print one object' }).click();
    await operator.locator('[data-print-state=completed]').waitFor({ timeout: 60_000 });

    for (const [node, tap] of Object.entries(taps)) {
      const sent = tap.sent();
      // What the taps would have found: the browser’s own headers, and the identifier of the key in a query.
      expect([node, sent.includes(`origin: ${origin}`) || sent.includes(`Origin: ${origin}`)]).toEqual([node, true]);
      for (const secret of [MARK, NAME])
        for (const form of formsOf(secret)) expect([node, secret, sent.includes(form)]).toEqual([node, secret, false]);
    }
    await attack(operator);
    expect(people.complaints).toEqual([]);
  });

  it('says what to do with a model, and keeps a file of bytes for a machine that takes them', {
    timeout: 120_000,
  }, async () => {
    const owner = await people.person({ viewport: { width: 390, height: 844 }, colorScheme: 'dark' });
    await person('Other', 'brand', 'designer', owner);
    await owner.goto(`${origin}/#/designs`);
    const buffer = Buffer.from('solid part\nendsolid part\n');
    await owner.locator('.drop input').setInputFiles({ name: 'part.stl', mimeType: 'model/stl', buffer });
    await owner.getByText('This is a model.').waitFor();
    await finish(owner, 'console-upload-model-phone');
    await owner.getByLabel('Bytes a second').fill('1000');
    await owner.getByRole('button', { name: 'Seal and upload' }).click();
    await upload(owner, 'sign');
    await owner.getByRole('button', { name: 'Sign and upload' }).click();
    await upload(owner, 'stored');
    await owner.getByText('binary').waitFor();
    // Of a sliced project, the owner chooses a plate. Its G-code is what is sealed.
    const buffers = ['G28\nG1 X10 F6000\n', `G28\n${'G1 X10 Y10 E1 F3000\nG1 X20 Y20 E2\n'.repeat(50)}`];
    const parts = Object.fromEntries(buffers.map((text, at) => [`Metadata/plate_${at + 1}.gcode`, text]));
    const project = { name: 'two.gcode.3mf', mimeType: 'model/3mf', buffer: Buffer.from(await zipOf(parts)) };
    await owner.getByRole('button', { name: 'Close' }).click();
    await owner.locator('.drop input').setInputFiles(project);
    await owner.locator('[data-plate]').nth(1).waitFor();
    await finish(owner, 'console-plates-phone');
    await owner.locator('[data-plate="2"]').click();
    await owner.getByRole('heading', { name: 'two-plate-2.gcode' }).waitFor();
    await owner.locator('canvas[data-layer]').waitFor();
    await owner.getByRole('button', { name: 'Seal and upload' }).click();
    await upload(owner, 'sign');
    await owner.getByRole('button', { name: 'Sign and upload' }).click();
    await upload(owner, 'stored');
    await owner.getByRole('heading', { name: 'two-plate-2.gcode stored' }).waitFor();
    // Nothing is left to continue, and the key is forgotten with all that was kept for it.
    await owner.goto(`${origin}/#/sign-in`);
    await owner.getByText('Another person').first().click();
    await owner.getByRole('button', { name: 'Forget' }).click();
    const kept = 'navigator.storage.getDirectory().then((root) => Array.fromAsync(root.keys()))';
    await expect.poll(() => owner.evaluate(kept)).toEqual([]);
    expect(people.complaints).toEqual([]);
  });

  /** The owner sees the operator's own cards, with what is disclosed and nothing else. */
  async function seeAsOperator(owner: Page): Promise<void> {
    await owner.getByRole('button', { name: 'See as operator' }).click();
    const screen = owner.locator('.operator-screen');
    await screen.getByText('210').waitFor();
    await screen.getByText('no positions, layers').waitFor();
    expect(await screen.getByRole('progressbar').first().getAttribute('value')).toBe('50');
    for (const name of ['Progress', 'State', 'Temperatures', 'Buffer'])
      await owner.getByRole('checkbox', { name: `${name}:` }).uncheck();
    expect(await screen.getByText('210').count()).toBe(0);
    expect(await screen.getByRole('progressbar').first().getAttribute('value')).toBe('0');
    await owner.getByRole('checkbox', { name: 'Position:' }).check();
    await screen.getByText('also sees positions').waitFor();
    await owner.getByRole('checkbox', { name: 'Position:' }).uncheck();
    await owner.getByRole('checkbox', { name: 'Progress:' }).check();
    await owner.getByRole('checkbox', { name: 'Temperatures:' }).check();
    await screen.getByText('210').waitFor();
  }

  /** A page of another site, in the browser of somebody who is signed in. */
  async function attack(victim: Page): Promise<void> {
    const evil = createServer((_request, response) => {
      response.setHeader('content-type', 'text/html').end('<title>evil</title>');
    });
    await new Promise<void>((resolve) => evil.listen(0, '127.0.0.1', resolve));
    const address = evil.address();
    const page = await victim.context().newPage();
    try {
      await page.goto(`http://localhost:${typeof address === 'object' ? address?.port : 0}/`);
      const put = `fetch('${uploads}/v1/uploads/${'ab'.repeat(16)}/0', { method: 'PUT', body: 'x', mode: 'cors' })`;
      expect(await page.evaluate(`${put}.then(() => 'sent', ({ name }) => name)`)).toBe('TypeError');
      const simple = `fetch('${uploads}/v1/uploads', { method: 'POST', body: '{}', mode: 'no-cors' })`;
      expect(await page.evaluate(`${simple}.then(({ type }) => type, ({ name }) => name)`)).toMatch(/opaque|TypeError/);
      // The console’s own pages may call no third address.
      const other = `fetch('http://localhost:1/', { mode: 'no-cors' }).then(() => 'sent', ({ name }) => name)`;
      expect(await victim.evaluate(other)).toBe('TypeError');
    } finally {
      await page.close();
      evil.closeAllConnections();
      evil.close();
    }
  }
});

/** A text as it is, in hexadecimal, and within any base64. */
function formsOf(text: string): string[] {
  const within = [0, 1, 2].map((shift) => {
    const encoded = Buffer.from('x'.repeat(shift) + text).toString('base64');
    return encoded.slice(shift === 0 ? 0 : 4, -4);
  });
  return [text, encodeURIComponent(text), Buffer.from(text).toString('hex'), ...within];
}
