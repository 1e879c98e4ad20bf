import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { Closer, silentLogger } from '@millrace/base';
import { type ConsoleServer, serveConsole } from '@millrace/cloud/parts';
import { zipOf } from '@millrace/testkit/console/sliced-project';
import { chromium } from '@millrace/testkit/live-matrix/page';
import axe from 'axe-core';
import { type Browser, type BrowserContextOptions, type Page, chromium as playwright } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readConsoleFiles } from '../src/index.ts';

/** Folder for pictures, by hand: `MILLRACE_PICTURES=docs/images npx vitest run …`. */
const pictures = process.env.MILLRACE_PICTURES;
const sample = fileURLToPath(new URL('../../../samples/', import.meta.url));
/** Draws WebGL on the processor. */
const software = ['--use-angle=swiftshader', '--enable-unsafe-swiftshader'];

if (chromium === undefined) console.log('the viewer of G-code files: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('the viewer of G-code files in a browser', () => {
  const closer = new Closer();
  /** Requests, and errors of pages. */
  const asked: string[] = [];
  let browser: Browser;
  let server: ConsoleServer;

  beforeAll(async () => {
    server = closer.add(
      await serveConsole({
        address: { host: '127.0.0.1', port: 0 },
        files: await readConsoleFiles(),
        logger: silentLogger,
        mount: (mounted) => {
          mounted.get('/v1/sessions/current', async (_request, reply) => reply.code(204).send());
          mounted.get('/v1/installation', async (_request, reply) => reply.code(503).send());
        },
        ledger: undefined,
      }),
    );
    browser = await playwright.launch({ executablePath: chromium ?? '', args: ['--no-sandbox', ...software] });
    closer.add({ close: () => browser.close() });
  }, 60_000);
  afterAll(() => closer.close());

  async function open(options: BrowserContextOptions = {}): Promise<Page> {
    const context = await browser.newContext({ locale: 'en-GB', ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(120_000);
    page.on('request', (request) => asked.push(`${request.method()} ${request.url()}`));
    page.on('pageerror', (error) => asked.push(`error: ${error.message}`));
    page.on('dialog', (dialog) => asked.push(`dialog: ${dialog.message()}`));
    await page.goto(`${server.origin}/#/view`);
    return page;
  }
  const choose = (page: Page, name: string, content: Buffer | string) =>
    page
      .locator('input[type=file]')
      .setInputFiles({ name, mimeType: 'text/plain', buffer: Buffer.from(content as string) });
  const picture = async (page: Page, name: string) => {
    if (pictures !== undefined) await page.screenshot({ path: `${pictures}/${name}.png`, fullPage: true });
  };
  async function findings(page: Page): Promise<string[]> {
    await page.evaluate(axe.source);
    const run = 'axe.run().then(({ violations }) => violations.map(({ id, nodes }) => id + nodes[0].html))';
    return (await page.evaluate(run)) as string[];
  }
  const shown = async (page: Page, layer: number) => {
    await page.locator(`canvas[data-layer="${layer}"]`).waitFor();
  };
  /** Number of pixels of the picture that are drawn, after the next frames. */
  const drawn = (page: Page): Promise<number> =>
    page.evaluate(`new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => {
      const canvas = document.querySelector('canvas');
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d');
      copy.drawImage(canvas, 0, 0);
      const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
      let count = 0;
      for (let n = 3; n < data.length; n += 4) if (data[n] > 0) count += 1;
      done(count);
    })))`);

  it('shows layers, moves and travel by slider, keyboard and wheel', async () => {
    const page = await open();
    await choose(page, 'impeller.gcode', await readFile(`${sample}impeller.gcode`));
    await shown(page, 1);
    const canvas = page.locator('canvas');
    await canvas.focus();
    await page.keyboard.press('PageUp');
    await shown(page, 11);
    await page.keyboard.press('ArrowUp');
    await shown(page, 12);
    await picture(page, 'console-layers');
    expect(await findings(page)).toEqual([]);

    // Travel moves are drawn as well.
    const without = await drawn(page);
    await page.keyboard.press('t');
    await page.getByRole('checkbox', { name: 'Travel moves', checked: true }).waitFor();
    expect(await drawn(page)).toBeGreaterThan(without);
    // The wheel changes layers with shift, and zooms without.
    await canvas.hover();
    await page.keyboard.down('Shift');
    await page.mouse.wheel(0, -100);
    await page.keyboard.up('Shift');
    await shown(page, 13);
    const slider = page.getByRole('slider', { name: 'Layer' });
    await slider.hover();
    await page.mouse.wheel(0, 100);
    await shown(page, 12);
    await slider.focus();
    await page.keyboard.press('End');
    await expect.poll(async () => (await slider.inputValue()) === (await slider.getAttribute('max'))).toBe(true);
    await canvas.focus();
    await page.keyboard.press('Home');
    await shown(page, 0);
    const moves = page.getByRole('slider', { name: 'Move' });
    const before = Number(await moves.inputValue());
    await page.keyboard.press('ArrowLeft');
    await expect.poll(() => moves.inputValue()).toBe(String(before - 1));
    // Zooming in on a part, and back.
    const whole = await drawn(page);
    for (let n = 0; n < 12; n += 1) await page.keyboard.press('-');
    expect(await drawn(page)).not.toBe(whole);
    await page.keyboard.press('f');
    expect(await drawn(page)).toBe(whole);
    // The list of keys has those of the picture.
    await page.keyboard.press('?');
    await page.getByText('Travel moves on or off').waitFor();
    await page.context().close();
  });

  it('shows the path in space up to a layer', async () => {
    const page = await open();
    await choose(page, 'impeller.gcode', await readFile(`${sample}impeller.gcode`));
    await shown(page, 1);
    await page.getByRole('button', { name: 'Path in space' }).click();
    await page.locator('canvas[data-picture=space]').focus();
    await page.keyboard.press('End');
    await page.locator('canvas[data-layer="52"]').waitFor();
    // More is drawn when the last layer is, so the picture has more bytes.
    const bytesOf = async () => (await page.locator('canvas').screenshot()).length;
    await expect.poll(bytesOf, { timeout: 20_000 }).toBeGreaterThan(30_000);
    await picture(page, 'console-path');
    expect(await findings(page)).toEqual([]);
    const whole = await bytesOf();
    await page.locator('canvas').focus();
    await page.keyboard.press('Home');
    // Before the first layer.
    await shown(page, 0);
    await expect.poll(bytesOf, { timeout: 20_000 }).toBeLessThan(whole / 2);
    await page.context().close();
  });

  it('shows the plate that is chosen of a sliced project', async () => {
    const page = await open({ viewport: { width: 390, height: 844 } });
    const impeller = await readFile(`${sample}impeller.gcode`, 'utf8');
    const parts = { 'Metadata/plate_1.gcode': 'G28\nG1 X10 F600\n', 'Metadata/plate_2.gcode': impeller };
    await choose(page, 'two.gcode.3mf', Buffer.from(await zipOf(parts)));
    await page.locator('[data-plate="1"]').waitFor();
    await picture(page, 'console-plates');
    expect(await findings(page)).toEqual([]);
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await findings(page)).toEqual([]);
    await page.locator('[data-plate="2"]').click();
    await shown(page, 1);
    await page.getByText('two-plate-2.gcode').waitFor();
    await page.getByRole('button', { name: 'Another file' }).click();
    // The only plate needs no choice.
    await choose(page, 'one.3mf', Buffer.from(await zipOf({ 'Metadata/plate_7.gcode': impeller })));
    await shown(page, 1);
    await page.getByText('one.gcode').waitFor();
    await page.context().close();
  });

  it('refuses hostile files with one clear sentence, and stays alive', async () => {
    const page = await open({ locale: 'de-AT', colorScheme: 'dark', viewport: { width: 390, height: 844 } });
    const again = async () => page.getByRole('button', { name: 'Andere Datei' }).click();
    const garbage = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, n) => (n * 7919 + (n >> 3)) & 255));
    const refused = [
      ['garbage.gcode', garbage],
      ['nan.gcode', 'G1 X1\nG1 XNaN\n'],
      ['infinity.gcode', `G1 X${'9'.repeat(500)}\n`],
      ['line.gcode', `G1 ${'X1 '.repeat(1_000_000)}\n`],
      ['layers.gcode', `M83\nG91\n${'G1 X1 Z1 E1\nG1 X-1 Z-1 E1\n'.repeat(500_500)}`],
    ] as const;
    for (const [name, content] of refused) {
      await choose(page, name, content as Buffer);
      const alert = page.getByRole('alert');
      await alert.waitFor({ timeout: 60_000 });
      expect([name, await alert.textContent()]).toEqual([name, expect.stringContaining('E_GCODE')]);
      await again();
    }
    // What looks like an archive, and one with an altered plate.
    const parts = { 'Metadata/plate_1.gcode': 'G28\nG1 X10 F600\n' };
    const altered = Buffer.from(await zipOf(parts, { level: 0 }));
    altered.write('G1 X99', altered.indexOf('G1 X10'));
    for (const content of [Buffer.concat([Buffer.from('PK\u0003\u0004'), Buffer.alloc(100_000)]), altered]) {
      await choose(page, 'project.gcode.3mf', content);
      await page.getByRole('alert').getByText('E_INPUT').waitFor();
      await again();
    }
    // Shapes.
    for (const [name, content] of [
      ['model.3mf', Buffer.from(await zipOf({ '3D/3dmodel.model': '<model/>' }))],
      ['impeller.stl', await readFile(`${sample}impeller.stl`)],
    ] as const) {
      await choose(page, name, content);
      await page.getByText('enthält eine Form').waitFor();
      await again();
    }
    await choose(page, 'empty.gcode', '');
    await page.getByText('Nichts in dieser Datei bewegt ein Werkzeug.').waitFor();
    await again();
    // Comments are never shown, whatever they contain; a comment may be as long as it likes.
    const hostile = '<img src=x onerror=alert(1)>';
    await choose(
      page,
      `${hostile}.gcode`,
      `;TYPE:${hostile}\n;${'x'.repeat(5_000_000)}\nM83\nG1 X5 Y5 E1 ;${hostile}\nG1 X15 Y5 E1\nM117 ${hostile}\n`,
    );
    await shown(page, 1);
    expect(await page.locator('main img, main script').count()).toBe(0);
    expect(await findings(page)).toEqual([]);
    const overflow = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
    expect(overflow).toBe(0);
    await again();
    // After all that, a file is still shown.
    await choose(page, 'impeller.gcode', await readFile(`${sample}impeller.gcode`));
    await shown(page, 1);
    await page.locator('canvas').focus();
    await page.keyboard.press('PageUp');
    await shown(page, 11);
    await picture(page, 'console-layers-phone');
    expect(await findings(page)).toEqual([]);
    await page.context().close();
  });

  it('sent nothing, and loaded everything from its own server', () => {
    const own = ['GET', 'HEAD'].map((method) => `${method} ${server.origin}/`);
    expect(asked.filter((line) => !own.some((begin) => line.startsWith(begin)))).toEqual([]);
    expect(asked.length).toBeGreaterThan(5);
  });
});
