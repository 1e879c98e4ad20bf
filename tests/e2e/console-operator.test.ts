import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Closer } from '@millrace/base';
import { enrolled, resultOf } from '@millrace/testkit/cli/helpers';
import { type ConsolePeople, chromium, consolePeople, type Page } from '@millrace/testkit/console/people';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

if (chromium === undefined) console.log('running prints in the console: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('running prints in the console', () => {
  const closer = new Closer();
  let system: TestInstallation;
  let people: ConsolePeople;
  let origin: string;

  beforeAll(async () => {
    // A design of ten minutes, at its own pace.
    system = closer.add(await createTestInstallation({ console: true, machine: { factor: 1 } }));
    origin = `http://localhost:${system.addresses.console?.port}`;
    people = closer.add(await consolePeople(origin));
  }, 120_000);
  afterAll(() => closer.close());

  async function finish(page: Page, name: string): Promise<void> {
    expect([name, await people.findings(page, name)]).toEqual([name, []]);
  }
  const command = (page: Page, name: string) => page.locator(`[data-command=${name}]`);
  async function hold(page: Page, forMs: number): Promise<void> {
    await command(page, 'cancel').hover();
    await page.mouse.down();
    await page.waitForTimeout(forMs);
    await page.mouse.up();
  }
  /** Streams of events that a page has opened. */
  const streamsOf = (page: Page) => {
    let count = 0;
    page.on('request', (request) => {
      if (request.url() === `${origin}/v1/events`) count += 1;
    });
    return () => count;
  };

  it('are watched and commanded from two browsers and two tabs', { timeout: 180_000 }, async () => {
    const server = system.home;
    const run = <T>(home: string, ...argv: string[]) => resultOf<T>(home, argv);
    const create = async (name: string, kind: string) =>
      (await run<{ organisation: string }>(server, 'org', 'create', name, '--kind', kind)).organisation;
    const [brand, bureau] = [await create('Brand', 'brand'), await create('Bureau', 'bureau')];
    const invite = async (name: string, org: string, role: string) =>
      (await run<{ text: string }>(server, 'user', 'invite', name, '--org', org, '--role', role)).text;
    const dora = join(system.scratch, 'dora');
    await enrolled(dora, await invite('Dora', brand, 'designer'));
    const device = (await run<{ text: string }>(dora, 'user', 'add-device')).text;
    const design = join(system.scratch, 'part.gcode');
    await writeFile(design, `G28\n${'G4 P1000 ; a line that makes the design long enough\n'.repeat(600)}`);
    await run(dora, 'design', 'add', design);
    const { machines } = await run<{ machines: { machine: string }[] }>(dora, 'machine', 'list');
    const machine = machines[0]?.machine ?? '';
    const grant = ['licence', 'grant', '--design', 'part.gcode', '--objects', '3', '--machine', machine];
    const { licence } = await run<{ licence: string }>(dora, ...grant, '--holder', 'Bureau');

    const operator = await people.person();
    const streamsOfFirst = streamsOf(operator);
    await people.enrol(operator, await invite('Otto', bureau, 'operator'), 'workshop');
    const owner = await people.person();
    await people.enrol(owner, device, 'browser');
    await operator.goto(`${origin}/#/licences`);
    await operator.locator('.checks [data-ok=true]').nth(3).waitFor();
    await operator.getByRole('button', { name: 'Print one object' }).click();
    await operator.locator('[data-print-state=running]').waitFor();
    await owner.goto(`${origin}/#/prints`);
    await owner.locator('[data-print-state=running]').waitFor();

    // Without asking again and again, both see what the other does.
    await command(operator, 'pause').click();
    await owner.locator('[data-halt=operator]').waitFor();
    await finish(operator, 'console-paused');
    await operator.setViewportSize({ width: 390, height: 844 });
    await operator.emulateMedia({ colorScheme: 'dark' });
    await finish(operator, 'console-paused-phone');
    await operator.emulateMedia({ colorScheme: 'light' });
    await operator.setViewportSize({ width: 1280, height: 800 });
    // The owner does not set a machine in motion that its operator has paused, and has no emergency stop.
    await command(owner, 'resume').click();
    await owner.getByText('E_FORBIDDEN').waitFor();
    expect(await command(owner, 'stop').count()).toBe(0);
    await command(operator, 'resume').click();
    await command(owner, 'pause').waitFor();

    // A second tab of the same browser shares the stream of the first.
    const tab = await operator.context().newPage();
    const streams = streamsOf(tab);
    await tab.goto(`${origin}/#/prints`);
    await tab.locator('[data-print-state=running]').waitFor();
    expect([streamsOfFirst(), streams()]).toEqual([1, 0]);
    // It takes over when the first is closed.
    await operator.close();
    await expect.poll(streams, { timeout: 20_000 }).toBe(1);

    // A short press ends nothing, a long one does; the browser that shows an older state is told.
    await hold(owner, 200);
    expect(await owner.locator('[data-print-state=running]').count()).toBe(1);
    await hold(owner, 1_500);
    await tab.locator('[data-print-state=failed]').waitFor();
    await tab.getByText('E_STOPPED').first().waitFor();
    const failed = await tab.evaluate('document.querySelectorAll("[data-command]").length');
    expect(failed).toBe(0);

    // Two tabs in conflict: the command of a page that shows an ended print does nothing to the next one.
    const { items } = (await owner.evaluate("fetch('/v1/prints').then((answer) => answer.json())")) as {
      items: { print: string; state: string }[];
    };
    const [ended] = items.filter(({ state }) => state === 'failed');
    const otto = join(system.scratch, 'otto');
    await enrolled(otto, await invite('Olga', bureau, 'operator'));
    await run(otto, 'print', '--licence', licence, '--machine', machine);
    await tab.locator('[data-print-state=running]').waitFor();
    await expect(run(otto, 'print', 'cancel', ended?.print ?? '')).rejects.toThrow(/E_STATE/);
    expect(await tab.locator('[data-print-state=running]').count()).toBe(1);

    // Control is started again while pages are open.
    await system.processes.control.kill();
    await owner.getByText('The server does not answer.').waitFor();
    await system.processes.control.start();
    await owner.getByText('Sign in to see this page.').waitFor();
    await owner.getByRole('link', { name: 'Sign in' }).first().click();
    await owner.getByRole('button', { name: 'Sign in' }).click();
    await owner.getByRole('heading', { name: 'Machines' }).waitFor();
    await owner.goto(`${origin}/#/prints`);
    const running = owner.locator('[data-print-state=running]');
    await running.waitFor();
    await run(otto, 'print', 'stop', await currentPrint(owner));
    await owner.locator('[data-print-state=running]').waitFor({ state: 'detached' });
    expect(people.complaints).toEqual([]);
  });

  const currentPrint = (page: Page) =>
    page.evaluate(
      "fetch('/v1/prints').then((a) => a.json()).then(({ items }) => items.find(({ state }) => state === 'running').print)",
    ) as Promise<string>;
});
