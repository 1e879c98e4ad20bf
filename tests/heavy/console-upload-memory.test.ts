import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Closer, sleep } from '@millrace/base';
import { resultOf } from '@millrace/testkit/cli/helpers';
import { type ConsolePeople, chromium, consolePeople, type Page } from '@millrace/testkit/console/people';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// The memory of a browser that seals and uploads a long file. By hand, for 1 GB: MILLRACE_UPLOAD_MB=1000.

const SMALL_MB = 8;
const LARGE_MB = Number(process.env.MILLRACE_UPLOAD_MB ?? 128);
/** What the page and its worker may need, whatever the length of the file. Measured: 260 for 8 MB, 381 for 128 MB. */
const MOST_MB = 500;

if (chromium === undefined) console.log('memory of an upload in a browser: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('the memory of a browser', () => {
  const closer = new Closer();
  let system: TestInstallation;
  let people: ConsolePeople;
  let origin: string;
  beforeAll(async () => {
    system = closer.add(await createTestInstallation({ console: true, start: ['control', 'distribution', 'keys'] }));
    const { console: pages, browsers } = system.addresses;
    origin = `http://localhost:${pages?.port}`;
    people = closer.add(await consolePeople(origin, { others: [`http://localhost:${browsers?.port}`] }));
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

  /** Resident memory of the process of the page and its workers, MB. */
  async function memoryOf(page: Page): Promise<number> {
    const devtools = await page.context().browser()?.newBrowserCDPSession();
    const { processInfo } = (await devtools?.send('SystemInfo.getProcessInfo')) ?? { processInfo: [] };
    await devtools?.detach();
    const used = await Promise.all(
      processInfo
        .filter(({ type }) => type === 'renderer')
        .map(async ({ id }) => /VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${id}/status`, 'utf8'))?.[1] ?? '0'),
    );
    return Math.max(...used.map(Number)) / 1_000;
  }

  /** Seals and uploads a file. @returns the largest memory seen, MB, and seconds for both steps */
  async function measured(page: Page, megabytes: number) {
    const path = join(system.scratch, `${megabytes}.gcode`);
    await writeGcode(path, megabytes);
    await page.goto(`${origin}/#/designs`);
    await page.reload();
    let [most, going] = [0, true];
    const watching = (async () => {
      for (; going; await sleep(200)) most = Math.max(most, await memoryOf(page));
    })();
    await page.locator('.drop input').setInputFiles(path);
    const from = Date.now();
    await page.getByRole('button', { name: 'Seal and upload' }).click();
    await page.locator('[data-upload=sign]').waitFor({ timeout: 1_200_000 });
    const sealed = Date.now();
    await page.getByRole('button', { name: 'Sign and upload' }).click();
    await page.locator('[data-upload=storing]').waitFor({ timeout: 1_200_000 });
    going = false;
    await watching;
    await page.getByRole('button', { name: 'Cancel' }).click();
    return { most, seal: (sealed - from) / 1_000, upload: (Date.now() - sealed) / 1_000 };
  }

  it('is bounded while it seals and uploads a long file', { timeout: 3_000_000 }, async () => {
    const { organisation } = await resultOf<{ organisation: string }>(system.home, [
      ...['org', 'create', 'Brand', '--kind', 'brand'],
    ]);
    const invite = ['user', 'invite', 'Ada', '--org', organisation, '--role', 'designer'];
    const page = await people.person();
    await people.enrol(page, (await resultOf<{ text: string }>(system.home, invite)).text, 'browser');
    const small = await measured(page, SMALL_MB);
    const large = await measured(page, LARGE_MB);
    console.log(JSON.stringify({ [`${SMALL_MB} MB`]: small, [`${LARGE_MB} MB`]: large }));
    expect(Math.max(small.most, large.most)).toBeLessThan(MOST_MB);
    expect(people.complaints).toEqual([]);
  });
});
