import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Closer } from '@millrace/base';
import { millrace, program } from '@millrace/testkit/cli';
import { chromium, consolePeople } from '@millrace/testkit/console/people';
import { afterAll, expect, it } from 'vitest';

// The first start of an installation, as a person sees it: its log has an address for the first administrator.

const closer = new Closer();
afterAll(() => closer.close());

/** Starts `millrace up`, and resolves with the first text in its log that matches. */
async function up(home: string, wanted: RegExp): Promise<string> {
  const child: ChildProcess = spawn(process.execPath, [program, 'up', '--home', home], { stdio: 'pipe' });
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
  closer.add({
    close: async () => {
      child.kill('SIGTERM');
      await gone;
    },
  });
  return new Promise((resolve, reject) => {
    let log = '';
    const read = (part: unknown) => {
      log += String(part);
      const found = wanted.exec(log)?.[0];
      if (found !== undefined) resolve(found);
    };
    child.stdout?.on('data', read);
    child.stderr?.on('data', read);
    child.once('close', () => reject(new Error(`millrace up ended: ${log}`)));
  });
}

if (chromium === undefined) console.log('the first administrator in a browser: NOT CHECKED, there is no Chromium');
it.runIf(chromium !== undefined)(
  'the first administrator signs in with the address in the log, once',
  { timeout: 180_000 },
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'millrace first '));
    closer.add({ close: () => rm(folder, { recursive: true, force: true, maxRetries: 5 }) });
    const home = join(folder, 'installation');
    expect((await millrace(home, 'init')).exit).toBe(0);
    const address = await up(home, /http:\/\/localhost:\d+\/#\/sign-in\/\S+(?=\s)/);
    const { origin } = new URL(address);
    const people = closer.add(await consolePeople(origin));
    const invitation = decodeURIComponent(address.split('/sign-in/')[1] ?? '');
    const page = await people.person();
    await people.enrol(page, invitation, 'browser');
    await page.getByText('Ada, First Brand').waitFor();
    // Used: whoever reads the log later gets nothing.
    const thief = await people.person();
    await thief.goto(address);
    await thief.getByLabel('Name of this browser').fill('thief');
    await thief.getByRole('button', { name: 'Make a key' }).click();
    await thief.getByRole('alert').waitFor();
    expect(await people.statusOf(thief, '/v1/designs')).toBe(401);
    expect(people.complaints).toEqual([]);
  },
);
