import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Closer } from '@millrace/base';
import { enrolled, resultOf } from '@millrace/testkit/cli/helpers';
import { cameraFlags, filmCode } from '@millrace/testkit/console/camera';
import { type ConsolePeople, chromium, consolePeople, type Page } from '@millrace/testkit/console/people';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

if (chromium === undefined) console.log('running prints in the console: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('running prints in the console', () => {
  const closer = new Closer();
  let system: TestInstallation;
  let people: ConsolePeople;
  let origin: string;
  let camera: string;

  beforeAll(async () => {
    // A design of ten minutes, at its own pace.
    system = closer.add(await createTestInstallation({ console: true, machine: { factor: 1 } }));
    origin = `http://localhost:${system.addresses.console?.port}`;
    camera = join(system.scratch, 'camera.y4m');
    people = closer.add(await consolePeople(origin, { flags: cameraFlags(camera) }));
  }, 120_000);
  afterAll(() => closer.close());

  async function finish(page: Page, name: string): Promise<void> {
    expect([name, await people.findings(page, name)]).toEqual([name, []]);
  }
  const finishOnPhone = async (page: Page, name: string) =>
    expect([name, await people.findingsOnPhone(page, name)]).toEqual([name, []]);
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
    await operator.getByRole('button', { name: 'Rehearse' }).click();
    await operator.locator('[data-rehearsal=fits]').waitFor();
    await finish(operator, 'console-rehearsal');
    await finishOnPhone(operator, 'console-rehearsal');
    await operator.getByRole('button', { name: 'Print one object' }).click();
    await operator.locator('[data-print-state=running]').waitFor();
    await owner.goto(`${origin}/#/prints`);
    await owner.locator('[data-print-state=running]').waitFor();

    // Without asking again and again, both see what the other does.
    await command(operator, 'pause').click();
    await owner.locator('[data-halt=operator]').waitFor();
    await finish(operator, 'console-paused');
    await finishOnPhone(operator, 'console-paused');
    // The owner does not set a machine in motion that its operator has paused, and has no emergency stop.
    await command(owner, 'resume').click();
    await owner.getByText('E_FORBIDDEN').waitFor();
    expect(await command(owner, 'stop').count()).toBe(0);
    await command(operator, 'resume').click();
    await command(owner, 'pause').waitFor();

    // The queue: another operator of the bureau has ordered two more.
    const olga = join(system.scratch, 'olga');
    await enrolled(olga, await invite('Olga', bureau, 'operator'));
    const order = () => run<{ print: string }>(olga, 'print', '--licence', licence, '--machine', machine);
    await order();
    const { print: later } = await order();
    const queued = operator.locator('[data-print-state=queued]');
    await queued.nth(1).waitFor();
    expect(await operator.getByRole('button', { name: 'Print this next' }).count()).toBe(1);
    await operator.getByRole('button', { name: 'Print this next' }).click();
    const firstWaiting = operator.locator('.print', { has: operator.locator('[data-print-state=queued]') }).first();
    await firstWaiting.getByText(later.slice(0, 8)).waitFor();
    await finish(operator, 'console-queue');
    await finishOnPhone(operator, 'console-queue');
    await operator.getByRole('button', { name: 'Cancel all 2 waiting prints' }).click();
    await operator.locator('[data-print-state=cancelled]').nth(1).waitFor();

    // A short press ends nothing, a long one does; the browser that shows an older state is told.
    await hold(owner, 200);
    expect(await owner.locator('[data-print-state=running]').count()).toBe(1);
    await hold(owner, 1_500);
    await operator.locator('[data-print-state=failed]').waitFor();
    await operator.getByText('E_STOPPED').first().waitFor();
    expect(await operator.locator('[data-command]').count()).toBe(0);

    // The operator shows the owner what happened.
    await operator.getByText('Report a failure').first().click();
    await operator.getByLabel('Reason').first().selectOption('warping');
    await operator.getByLabel('What went wrong').first().fill('The corners came off.');
    // Larger than fits, so that the browser makes it smaller.
    const buffer = Buffer.concat([await operator.screenshot(), Buffer.alloc(2_100_000)]);
    const photo = { name: 'part.png', mimeType: 'image/png', buffer };
    await operator.getByLabel('Photo', { exact: true }).first().setInputFiles(photo);
    await finish(operator, 'console-failure');
    await finishOnPhone(operator, 'console-failure');
    await operator.getByRole('button', { name: 'Sign the report' }).first().click();
    await operator.getByText('The failure is reported.').first().waitFor();
    const { cases } = await run<{ cases: { object: string }[] }>(dora, 'case', 'list');
    const opened = await run(dora, 'case', 'show', cases[0]?.object ?? '');
    expect(opened).toMatchObject({ reason: 'warping', text: 'The corners came off.', photo: 'image/jpeg' });

    // A certified spool, by the code on its label.
    const carla = join(system.scratch, 'carla');
    await enrolled(carla, await invite('Carla', await create('ACME', 'supplier'), 'certifier'));
    // A hostile supplier writes a page into the name.
    const pla = ['--name', '<img src=x onerror=alert(1)>PLA', '--batch', 'B1', '--spool', 'AC-1', '--grams', '1000'];
    const printed = join(system.scratch, 'label.png');
    const { code } = await run<{ code: string }>(
      carla,
      'material',
      'certify',
      ...pla,
      '--diameter',
      '1.75',
      '--density',
      '1.24',
      '--label',
      printed,
    );
    await operator.goto(`${origin}/#/machines`);
    await operator.getByText('Load a spool').click();
    const label = operator.getByLabel('Code on its label');
    await label.fill(code.replace(/.{4}$/, 'AAAA'));
    await operator.getByRole('button', { name: 'Sign that it is loaded' }).click();
    await operator.getByText(/E_SIGNATURE|E_INPUT/).waitFor();
    // Chromium here has no detector of codes: the page loads its own reader, for the camera and for photos.
    expect(await operator.evaluate("'BarcodeDetector' in globalThis")).toBe(false);
    const unreadable = { name: 'photo.png', mimeType: 'image/png', buffer: await owner.screenshot() };
    await operator.getByLabel('Photo of the code').setInputFiles(unreadable);
    await operator.getByText('There is no readable code in the photo.').waitFor();
    await filmCode(camera, code);
    await operator.getByRole('button', { name: 'Scan with the camera' }).click();
    await expect.poll(() => label.inputValue()).toBe(code);
    await label.fill('');
    await operator.getByLabel('Photo of the code').setInputFiles(printed);
    await expect.poll(() => label.inputValue()).toBe(code);
    await operator.getByRole('button', { name: 'Sign that it is loaded' }).click();
    await operator.getByText('<img src=x onerror=alert(1)>PLA · ACME').waitFor();
    await finish(operator, 'console-spools');
    await finishOnPhone(operator, 'console-spools');

    await order();
    // A second tab of the same browser shares the stream of the first.
    const tab = await operator.context().newPage();
    const streams = streamsOf(tab);
    await tab.goto(`${origin}/#/prints`);
    await tab.locator('[data-print-state=running]').waitFor();
    expect([streamsOfFirst(), streams()]).toEqual([1, 0]);
    // It takes over when the first is closed.
    await operator.close();
    await expect.poll(streams, { timeout: 20_000 }).toBe(1);

    // Two tabs in conflict: the command of a page that shows an ended print does nothing to the next one.
    const { items } = (await owner.evaluate("fetch('/v1/prints').then((answer) => answer.json())")) as {
      items: { print: string; state: string }[];
    };
    const [ended] = items.filter(({ state }) => state === 'failed');
    await expect(run(olga, 'print', 'cancel', ended?.print ?? '')).rejects.toThrow(/E_STATE/);
    expect(await tab.locator('[data-print-state=running]').count()).toBe(1);

    // What another tool does is seen as well.
    const running = owner.locator('[data-print-state=running]');
    await running.waitFor();
    await run(olga, 'print', 'stop', await currentPrint(owner));
    await running.waitFor({ state: 'detached' });
    expect(people.complaints).toEqual([]);
  });

  const currentPrint = (page: Page) =>
    page.evaluate(
      "fetch('/v1/prints').then((a) => a.json()).then(({ items }) => items.find(({ state }) => state === 'running').print)",
    ) as Promise<string>;
});
