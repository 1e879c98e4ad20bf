import { Closer, silentLogger, toHex } from '@millrace/base';
import { certificatePage, checkCertificate, labelSvg, labelText, verdictGerman } from '@millrace/client';
import { type ConsoleServer, publicLedgerAnswer, serveConsole } from '@millrace/cloud/parts';
import { cosign, formatNote, formatVerifierKey, parseNote } from '@millrace/ledger';
import { certify, INSTALLATION, logKeyOf, logOf, makeKeys, makeStory } from '@millrace/testkit/client/certified';
import { witness } from '@millrace/testkit/ledger/helpers';
import { chromium } from '@millrace/testkit/live-matrix/page';
import axe from 'axe-core';
import { type Browser, type BrowserContextOptions, type Page, chromium as playwright } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readConsoleFiles } from '../src/index.ts';

/** Folder for pictures, by hand: `MILLRACE_PICTURES=docs/images npx vitest run …`. */
const pictures = process.env.MILLRACE_PICTURES;
const HOSTILE = '<img src=x onerror="document.title=1">';

if (chromium === undefined) console.log('the console’s public pages: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('the console’s public pages in a browser', () => {
  const closer = new Closer();
  const keys = makeKeys();
  const asked: string[] = [];
  /** axe assigns HTML, which the policy of the page refuses. */
  let measuring = false;
  let browser: Browser;
  let server: ConsoleServer;
  let files: {
    readonly certificate: Buffer;
    readonly changed: Buffer;
    readonly hostile: Buffer;
    readonly page: Buffer;
    readonly object: string;
  };
  let lines: readonly string[];
  let germanLines: readonly string[];

  beforeAll(async () => {
    const story = await makeStory(keys);
    const ledger = await logOf(keys, story.events);
    const certificate = await certify(keys, story.events, story.object);
    const hostile = await makeStory(keys, { machine: { serial: HOSTILE } });
    const trust = { logKeys: [logKeyOf(keys)], authority: toHex(keys.admin.publicKey), witnesses: [] };
    const changed = Buffer.from(certificate);
    changed[changed.length - 100] = (changed[changed.length - 100] ?? 0) ^ 1;
    files = {
      certificate: Buffer.from(certificate),
      changed,
      hostile: Buffer.from(await certify(keys, hostile.events, hostile.object)),
      object: story.object,
      page: Buffer.from(certificatePage({ certificate, trust, script: '', title: 'a part', code: '' })),
    };
    const trusted = { logKey: trust.logKeys, authority: keys.admin.publicKey };
    lines = (await checkCertificate(certificate, trusted)).checked;
    const german = await checkCertificate(certificate, trusted, verdictGerman);
    germanLines = [...german.checked, ...german.unchecked];
    const note = parseNote(ledger.checkpoint());
    const cosigned = formatNote({
      text: note.text,
      signatures: [...note.signatures, await cosign(note.text, 1_700_000_000, witness)],
    });
    server = closer.add(
      await serveConsole({
        address: { host: '127.0.0.1', port: 0 },
        files: await readConsoleFiles(),
        logger: silentLogger,
        mount: (mounted) => {
          mounted.get('/v1/sessions/current', async (_request, reply) => reply.code(204).send());
          mounted.get('/v1/installation', async () => ({
            installation: INSTALLATION,
            adminKey: trust.authority,
            logKeys: trust.logKeys,
            witnesses: [formatVerifierKey(witness.name, witness.publicKey, 0x04)],
          }));
        },
        ledger: (request) => publicLedgerAnswer(request, { ledger, checkpoint: () => cosigned }),
      }),
    );
    browser = await playwright.launch({ executablePath: chromium ?? '', args: ['--no-sandbox'] });
    closer.add({ close: () => browser.close() });
  });
  afterAll(() => closer.close());

  /** Opens a page. Fails the test at the end if the page reports an error or asks another server. */
  async function open(path: string, options: BrowserContextOptions = {}): Promise<Page> {
    const context = await browser.newContext({ locale: 'en-GB', ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(120_000);
    page.on('request', (request) => asked.push(request.url()));
    page.on('pageerror', (error) => asked.push(`error: ${error.message}`));
    page.on('console', (message) => {
      if (message.type() === 'error' && !measuring) asked.push(`console: ${message.text()}`);
    });
    await page.goto(`${server.origin}/#/${path}`);
    return page;
  }
  const choose = (page: Page, buffer: Buffer) =>
    page
      .locator('input[type=file]')
      .setInputFiles({ name: 'part.millrace', mimeType: 'application/octet-stream', buffer });
  const verdict = (page: Page) => page.locator('[data-verdict]');
  const picture = async (page: Page, name: string) => {
    if (pictures !== undefined) await page.screenshot({ path: `${pictures}/${name}.png`, fullPage: true });
  };
  async function findings(page: Page): Promise<string[]> {
    measuring = true;
    await page.evaluate(axe.source);
    const run = 'axe.run().then(({ violations }) => violations.map(({ id, nodes }) => id + nodes[0].html))';
    const found = await page.evaluate(run);
    measuring = false;
    return found as string[];
  }

  it('verifies a certificate, says what is proven, and rejects a changed one', async () => {
    const page = await open('certificate');
    await choose(page, files.certificate);
    await verdict(page).waitFor();
    expect(await verdict(page).getAttribute('data-verdict')).toBe('good');
    const text = (await page.locator('main').textContent()) ?? '';
    for (const line of lines) expect(text).toContain(line);
    expect(text).toContain('1 of 2');
    await picture(page, 'console-certificate');
    expect(await findings(page)).toEqual([]);
    // The label for the part: the code of this certificate, printed alone.
    const code = labelSvg(labelText(files.object, files.certificate));
    const path = await page.locator('.label path').getAttribute('d');
    expect(code).toContain(`<path d="${path}"/>`);
    await page.evaluate('globalThis.print = () => { globalThis.printed = document.body.className; }');
    await page.getByRole('button', { name: 'Print the label' }).click();
    expect(await page.evaluate('printed')).toBe('print-label');
    await page.emulateMedia({ media: 'print' });
    expect(await page.locator('.label-paper').isVisible()).toBe(true);
    for (const hidden of ['h1', '.proven', '.label button', 'header', 'footer'])
      expect([hidden, await page.locator(hidden).first().isVisible()]).toEqual([hidden, false]);
    await page.evaluate("dispatchEvent(new Event('afterprint'))");
    expect(await page.locator('.proven').isVisible()).toBe(true);
    await page.emulateMedia({ media: 'screen' });
    // In another language it is verified again.
    await page.locator('header select').selectOption('de');
    await page.getByText('Register: Jeder Eintrag steht in').waitFor();
    const german = (await page.locator('main').textContent()) ?? '';
    for (const line of germanLines) expect(german).toContain(line);
    for (const line of lines) expect(german).not.toContain(line);
    expect(await page.locator('main').locator('[lang=en]').count()).toBe(0);
    await picture(page, 'console-certificate-german');
    await page.locator('header select').selectOption('en');
    await page.getByText('log: every entry is in').waitFor();
    // Another administrator's key does not vouch for it.
    await page.locator('#admin-key').fill(toHex(makeKeys().admin.publicKey));
    await page.getByText('Verify with these keys').click();
    await page.getByText('E_EVIDENCE').waitFor();
    await page.getByText('Verify another').click();
    await choose(page, files.changed);
    await verdict(page).waitFor();
    expect(await verdict(page).getAttribute('data-verdict')).toBe('bad');
    await page.getByText('Verify another').click();
    await choose(page, files.page);
    await page.getByText('The file brought these keys along').waitFor();
    expect(await verdict(page).getAttribute('data-verdict')).toBe('good');
    await page.context().close();
  });

  it('shows texts of a hostile certificate as text', async () => {
    const page = await open('certificate');
    await choose(page, files.hostile);
    await page.getByText(HOSTILE).first().waitFor();
    expect(await page.locator('main img').count()).toBe(0);
    expect(await page.title()).toBe('Certificate · Millrace');
    await page.context().close();
  });

  it('proves entries of the ledger, by keyboard, in German, on a phone in the dark', async () => {
    const page = await open('', { locale: 'de-AT', colorScheme: 'dark', viewport: { width: 360, height: 740 } });
    await page.getByRole('heading', { level: 1 }).waitFor();
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Tasten' }).waitFor();
    await page.keyboard.press('Escape');
    await page.keyboard.press('g');
    await page.keyboard.press('c');
    await page.getByRole('heading', { name: 'Zertifikat prüfen' }).waitFor();
    await page.evaluate("location.hash = '#/'");
    await page.getByRole('link', { name: 'Register öffnen' }).focus();
    await page.keyboard.press('Enter');
    await page.getByText(`${witness.name} kannte am`).waitFor();
    expect(await findings(page)).toEqual([]);
    await picture(page, 'console-ledger-phone');
    await page.locator('#number').fill('2');
    await page.keyboard.press('Enter');
    await verdict(page).waitFor();
    expect(await verdict(page).getAttribute('data-verdict')).toBe('good');
    await picture(page, 'console-entry-phone');
    expect(await page.locator('html').getAttribute('lang')).toBe('de');
    expect(await findings(page)).toEqual([]);
    const overflow = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
    expect(overflow).toBe(0);
    await page.locator('header select').selectOption('en');
    await page.getByRole('heading', { name: 'Entry 2' }).waitFor();
    await page.evaluate("location.hash = '#/ledger/99'");
    await page.getByText('E_NOT_FOUND').waitFor();
    await page.context().close();
  });

  it('loaded everything from its own server, without an error', () => {
    expect(asked.length).toBeGreaterThan(10);
    expect(asked.filter((url) => !url.startsWith(`${server.origin}/`))).toEqual([]);
  });
});
