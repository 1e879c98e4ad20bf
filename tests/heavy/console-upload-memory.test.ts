import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { Closer } from '@millrace/base';
import { resultOf } from '@millrace/testkit/cli/helpers';
import { startOwnChromium } from '@millrace/testkit/console/own-chromium';
import { chromium, consolePeople, type Page } from '@millrace/testkit/console/people';
import { MemoryWatch } from '@millrace/testkit/memory';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// The memory of all that take part when a browser seals and uploads a long file, by hand: MILLRACE_UPLOAD_MB=1000 for
// 1 GB. While it uploads, a browser keeps bodies of ended requests until its garbage collector runs, so the memory is
// compared with that of a file that is long enough for this. The browser has a profile in files, as people's browsers do
// (a private window keeps the sealed segments in memory), and no debugger records its requests while it uploads.

const SMALL_MB = 200;
const LARGE_MB = Number(process.env.MILLRACE_UPLOAD_MB ?? 400);
/** What a process may need more for the long file, MB. */
const MORE_MB = 100;
const PASSPHRASE = 'correct horse battery';

if (chromium === undefined) console.log('memory of an upload in a browser: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('memory', () => {
  const closer = new Closer();
  let system: TestInstallation;
  let origin: string;
  let organisation: string;
  beforeAll(async () => {
    system = closer.add(await createTestInstallation({ console: true, start: ['control', 'distribution', 'keys'] }));
    origin = `http://localhost:${system.addresses.console?.port}`;
    const create = ['org', 'create', 'Brand', '--kind', 'brand'];
    ({ organisation } = await resultOf<{ organisation: string }>(system.home, create));
  }, 120_000);
  afterAll(() => closer.close());

  /** G-code of about this size, in layers of 1,000 moves: the page shows one layer at a time before the upload. */
  async function writeGcode(path: string, megabytes: number): Promise<void> {
    const file = createWriteStream(path);
    for (let line = 0, bytes = 0; bytes < megabytes * 1e6; ) {
      const lines = [`G1 Z${(line / 5_000).toFixed(3)}\n`];
      for (let n = 0; n < 1_000; n++, line++)
        lines.push(`G1 X${(line % 200) + 0.125} Y${((line * 7) % 200) + 0.25} E${(line / 50).toFixed(5)} F3000\n`);
      const text = lines.join('');
      bytes += text.length;
      if (!file.write(text)) await once(file, 'drain');
    }
    file.end();
    await once(file, 'close');
  }

  /** Chooses a file by its path: a browser that is connected to takes no more than 50 MB from playwright itself. */
  async function choose(page: Page, input: string, path: string): Promise<void> {
    const devtools = await page.context().newCDPSession(page);
    const { root } = await devtools.send('DOM.getDocument');
    const { nodeId } = await devtools.send('DOM.querySelector', { nodeId: root.nodeId, selector: input });
    await devtools.send('DOM.setFileInputFiles', { nodeId, files: [path] });
    await devtools.detach();
  }

  /** Stores a file from a browser of its own. @returns peaks by kind of process, MB, in all and by step */
  async function measured(megabytes: number) {
    const path = join(system.scratch, `${megabytes}.gcode`);
    await writeGcode(path, megabytes);
    const browser = closer.add(await startOwnChromium(join(system.scratch, `profile ${megabytes}`)));
    const { endpoint } = browser;
    const others = [`http://localhost:${system.addresses.browsers?.port}`];
    const people = await consolePeople(origin, { others, endpoint });
    const invite = ['user', 'invite', `Ada ${megabytes}`, '--org', organisation, '--role', 'designer'];
    const page = await people.person();
    await people.enrol(page, (await resultOf<{ text: string }>(system.home, invite)).text, 'browser', PASSPHRASE);
    await page.goto(`${origin}/#/designs`);
    const drop = page.locator('.drop input');
    await drop.waitFor();
    const watch = new MemoryWatch();
    const peaks = new Map<string, number>();
    const steps: Record<string, Record<string, number>> = {};
    const ended = (step: string) => {
      const own: Record<string, number> = {};
      for (const [name, { own: most }] of Object.entries(watch.take())) {
        const kind = name.replace(/ \d+$/, '');
        own[kind] = Math.max(own[kind] ?? 0, most);
        peaks.set(kind, Math.max(peaks.get(kind) ?? 0, most));
      }
      steps[step] = own;
    };
    const look = () => {
      for (const [name, pid] of browser.processes()) watch.watch(name, pid);
      for (const name of ['control', 'distribution'] as const) watch.watch(name, system.processes[name].pid);
    };
    look();
    const looking = setInterval(look, 2_000);
    const stopped = { close: () => clearInterval(looking) };
    closer.add(stopped);
    await choose(page, '.drop input', path);
    const from = Date.now();
    await page.getByRole('button', { name: 'Seal and upload' }).click();
    await page.locator('[data-upload=sign]').waitFor({ timeout: 3_000_000 });
    const sealed = Date.now();
    ended('seal');
    await page.getByLabel('Passphrase').fill(PASSPHRASE);
    await page.getByRole('button', { name: 'Sign and upload' }).click();
    await page.locator('[data-upload=uploading]').waitFor({ timeout: 600_000 });
    await people.close();
    const step = 'document.querySelector("[data-upload]")?.dataset.upload';
    // No segments node runs, so the upload ends where storing begins. tests/heavy/memory.test.ts goes on from there.
    await expect
      .poll(() => browser.evaluate(origin, step), { timeout: 3_000_000, interval: 500 })
      .toMatch(/storing|failed/);
    const uploaded = Date.now();
    expect(await browser.evaluate(origin, step)).toBe('storing');
    stopped.close();
    ended('upload');
    watch.close();
    await browser.close();
    expect(people.complaints).toEqual([]);
    const seconds = { seal: (sealed - from) / 1_000, upload: (uploaded - sealed) / 1_000 };
    return { peaks, steps, seconds };
  }

  it('does not grow with the length of a file that a browser seals and uploads', { timeout: 6_000_000 }, async () => {
    const small = await measured(SMALL_MB);
    const large = await measured(LARGE_MB);
    for (const [megabytes, { steps, seconds }] of [[SMALL_MB, small] as const, [LARGE_MB, large] as const])
      console.log(`${megabytes} MB: ${JSON.stringify({ steps, seconds })}`);
    expect([...large.peaks.keys()]).toEqual(expect.arrayContaining(['browser', 'renderer', 'distribution']));
    const grown = [...large.peaks].filter(([kind, most]) => most > (small.peaks.get(kind) ?? 0) + MORE_MB);
    expect(grown).toEqual([]);
  });
});
