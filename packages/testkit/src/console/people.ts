import { join } from 'node:path';
import type { Closable } from '@millrace/base';
import axe from 'axe-core';
import { type BrowserContextOptions, type Page, chromium as playwright } from 'playwright-core';
import { chromium } from '../live-matrix/page.ts';

export type { BrowserContextOptions, Page } from 'playwright-core';
export { chromium };

/** Folder for pictures, by hand: `MILLRACE_PICTURES=docs/images npx vitest run …`. */
const pictures = process.env.MILLRACE_PICTURES;

/** People with browsers, at the console of an installation. */
export interface ConsolePeople extends Closable {
  /** A browser of its own, with a passkey that has secrets (PRF). */
  person(options?: BrowserContextOptions): Promise<Page>;
  /** Uses an invitation. The key of the browser is kept by the passkey, or by a passphrase if there is one. */
  enrol(page: Page, invitation: string, device: string, passphrase?: string): Promise<void>;
  /** What axe finds on the page. Makes its picture, if pictures are wanted. */
  findings(page: Page, name: string): Promise<string[]>;
  /** The same on a phone in the dark, where the page must not be wider than the screen either. */
  findingsOnPhone(page: Page, name: string): Promise<string[]>;
  /** HTTP status of a request that the page makes. */
  statusOf(page: Page, path: string, method?: string): Promise<number>;
  /** What pages reported: errors, dialogs, and requests to other servers. */
  readonly complaints: string[];
}

/**
 * @param origin address of the console
 * @param others origins that pages may call as well
 * @param flags of Chromium
 * @param endpoint of a Chromium that runs already: everybody has its profile, and closing leaves it running
 */
export async function consolePeople(
  origin: string,
  {
    others = [],
    flags = [],
    endpoint,
  }: { readonly others?: readonly string[]; readonly flags?: readonly string[]; readonly endpoint?: string } = {},
): Promise<ConsolePeople> {
  const browser =
    endpoint === undefined
      ? await playwright.launch({ executablePath: chromium ?? '', args: ['--no-sandbox', ...flags] })
      : await playwright.connectOverCDP(endpoint);
  const profile = endpoint === undefined ? undefined : browser.contexts()[0];
  const complaints: string[] = [];
  const findings: ConsolePeople['findings'] = async (page, name) => {
    await page.evaluate(axe.source);
    const run = 'axe.run().then(({ violations }) => violations.map(({ id, nodes }) => id + nodes[0].html))';
    const found = (await page.evaluate(run)) as string[];
    if (pictures !== undefined) await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
    return found;
  };
  return {
    complaints,
    person: async (options = {}) => {
      const context = profile ?? (await browser.newContext({ locale: 'en-GB', ...options }));
      const page = await context.newPage();
      // Machines that build beside the tests are slow.
      page.setDefaultTimeout(60_000);
      const devtools = await context.newCDPSession(page);
      await devtools.send('WebAuthn.enable');
      await devtools.send('WebAuthn.addVirtualAuthenticator', {
        options: {
          ...{ protocol: 'ctap2', ctap2Version: 'ctap2_1', transport: 'internal', hasResidentKey: true },
          ...{ hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true, hasPrf: true },
        },
      });
      page.on('pageerror', (error) => complaints.push(error.message));
      page.on('request', (request) => {
        if (![origin, ...others].some((own) => request.url().startsWith(`${own}/`))) complaints.push(request.url());
      });
      page.on('dialog', (dialog) => complaints.push(dialog.message()));
      return page;
    },
    enrol: async (page, invitation, device, passphrase) => {
      await page.goto(`${origin}/#/sign-in/${encodeURIComponent(invitation)}`);
      await page.getByLabel('Name of this browser').fill(device);
      if (passphrase !== undefined) {
        await page.getByRole('button', { name: 'Use a passphrase' }).click();
        await page.getByLabel('Passphrase').fill(passphrase);
      }
      await page.getByRole('button', { name: 'Make a key' }).click();
      await page.getByRole('heading', { name: 'Machines' }).waitFor();
    },
    findings,
    findingsOnPhone: async (page, name) => {
      const before = page.viewportSize();
      await page.setViewportSize({ width: 390, height: 844 });
      await page.emulateMedia({ colorScheme: 'dark' });
      const found = await findings(page, `${name}-phone`);
      const [width, screen] = (await page.evaluate('[document.documentElement.scrollWidth, innerWidth]')) as number[];
      await page.emulateMedia({ colorScheme: 'light' });
      if (before !== null) await page.setViewportSize(before);
      return width === screen ? found : [...found, `the page is ${width} pixels wide on a screen of ${screen}`];
    },
    statusOf: async (page, path, method = 'GET') =>
      (await page.evaluate(
        `fetch(${JSON.stringify(path)}, { method: '${method}' }).then(({ status }) => status)`,
      )) as number,
    close: () => browser.close(),
  };
}
