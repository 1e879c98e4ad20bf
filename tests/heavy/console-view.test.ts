import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Closer, silentLogger } from '@millrace/base';
import { serveConsole } from '@millrace/cloud/parts';
import { readConsoleFiles } from '@millrace/console';
import { syntheticDesign } from '@millrace/gcode';
import { chromium } from '@millrace/testkit/console/people';
import { MemoryWatch } from '@millrace/testkit/memory';
import { chromium as playwright } from 'playwright-core';
import { afterEach, describe, expect, it } from 'vitest';

const SIZE = 100_000_000;
const FRAMES = 600;
/** What a page with the file may take, with its worker: MB. */
const MOST = 400;

/** A frame is late if another one would have fitted in between, at 60 frames a second. */
interface Scrub {
  readonly times: number[];
  readonly drawn: number;
}

if (chromium === undefined) console.log('a file of 100 MB in the viewer: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('a file of 100 MB in the viewer', () => {
  const closer = new Closer();
  afterEach(() => closer.close());

  it('is scrubbed layer by layer, and the page stays small', { timeout: 240_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'millrace-view-'));
    closer.add({ close: () => rmSync(folder, { recursive: true, force: true }) });
    const file = join(folder, 'large.gcode');
    const out = openSync(file, 'w');
    for (const chunk of syntheticDesign({ bytes: SIZE, chunkBytes: 2 ** 20 })) writeSync(out, chunk);
    closeSync(out);
    const server = closer.add(
      await serveConsole({
        ...{ address: { host: '127.0.0.1', port: 0 }, files: await readConsoleFiles(), logger: silentLogger },
        mount: (mounted) => {
          mounted.get('/v1/sessions/current', async (_request, reply) => reply.code(204).send());
          mounted.get('/v1/installation', async (_request, reply) => reply.code(503).send());
        },
        ledger: undefined,
      }),
    );
    const browser = await playwright.launch({ executablePath: chromium ?? '', args: ['--no-sandbox'] });
    closer.add({ close: () => browser.close() });
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    await page.goto(`${server.origin}/#/view`);
    await page.locator('input[type=file]').waitFor();
    const devtools = await browser.newBrowserCDPSession();
    const { processInfo } = await devtools.send('SystemInfo.getProcessInfo');
    const memory = closer.add(new MemoryWatch());
    for (const { type, id } of processInfo) if (type === 'renderer') memory.watch(`renderer ${id}`, id);
    const metrics = await page.context().newCDPSession(page);
    await metrics.send('Performance.enable');
    const scripting = async () =>
      (await metrics.send('Performance.getMetrics')).metrics.find(({ name }) => name === 'ScriptDuration')?.value ?? 0;

    await page.locator('input[type=file]').setInputFiles(file);
    await page.locator('canvas[data-layer]').waitFor({ timeout: 120_000 });
    const before = await scripting();
    const { times, drawn } = (await page.evaluate(`new Promise((done) => {
      const slider = document.querySelector('input[type=range]');
      const times = [];
      let [drawn, last] = [0, ''];
      const frame = (time) => {
        times.push(time);
        const { layer } = document.querySelector('canvas').dataset;
        if (layer !== last) drawn += 1;
        last = layer;
        if (times.length > ${FRAMES}) return done({ times, drawn });
        slider.value = String(1 + (times.length * 7) % Number(slider.max));
        slider.dispatchEvent(new Event('input', { bubbles: true }));
        requestAnimationFrame(frame);
      };
      requestAnimationFrame(frame);
    })`)) as Scrub;
    const script = (1000 * ((await scripting()) - before)) / FRAMES;
    // The path in space has a bounded number of moves.
    await page.getByRole('button', { name: 'Path in space' }).click();
    await page.getByText('One layer in').waitFor({ timeout: 60_000 });
    const peak = Math.max(...Object.values(memory.take()).map(({ resident }) => resident));
    const rate = (1000 * FRAMES) / ((times.at(-1) ?? 0) - (times[0] ?? 0));
    console.log(
      `100 MB: ${rate.toFixed(1)} frames/s, script ${script.toFixed(2)} ms a frame, ${drawn} of ${FRAMES} frames with ` +
        `another layer, the page has at most ${peak} MB`,
    );
    expect(peak).toBeLessThan(MOST);
    expect(drawn).toBeGreaterThan(FRAMES / 10);
  });
});
