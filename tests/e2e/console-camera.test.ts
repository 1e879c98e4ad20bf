import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Closer } from '@millrace/base';
import { resultOf } from '@millrace/testkit/cli/helpers';
import { type ConsolePeople, chromium, consolePeople, type Page } from '@millrace/testkit/console/people';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const PART = `<body style="margin: 0"><svg width="640" height="480">
  <rect width="640" height="480" fill="#39414a"/><rect y="390" width="640" height="90" fill="#20262c"/>
  <rect x="90" y="380" width="460" height="16" fill="#8b939b"/>
  <rect x="190" y="190" width="260" height="190" rx="8" fill="rgb(20, 140, 60)"/>
  <path d="M270 30h100v90l-40 50h-20l-40-50z" fill="#c98b3b"/></svg>`;

if (chromium === undefined) console.log('the camera in the console: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('the camera of a machine in the console', () => {
  const closer = new Closer();
  let system: TestInstallation;
  let people: ConsolePeople;
  let origin: string;
  /** What the camera answers, and how often it was asked. */
  let shown: Uint8Array = new Uint8Array(9);
  let asked = 0;

  beforeAll(async () => {
    const camera = createServer((_, response) => {
      asked += 1;
      response.writeHead(200, { 'content-type': 'image/jpeg' }).end(shown);
    });
    await new Promise<void>((resolve) => camera.listen(0, '127.0.0.1', resolve));
    closer.add({ close: () => void camera.close(() => undefined).closeAllConnections() });
    system = closer.add(await createTestInstallation({ console: true, start: ['control', 'distribution'] }));
    const url = `http://127.0.0.1:${(camera.address() as AddressInfo).port}/webcam/?action=snapshot`;
    const file = join(folderOf(system.installation, 'machine'), 'camera.json');
    await writeFile(file, JSON.stringify({ source: { kind: 'http', url } }));
    await system.processes.machine.start();
    origin = `http://localhost:${system.addresses.console?.port}`;
    people = closer.add(await consolePeople(origin));
  }, 120_000);
  afterAll(() => closer.close());

  const colour = (page: Page) =>
    page.evaluate(`(() => {
      const canvas = document.querySelector('.camera canvas');
      return [...canvas.getContext('2d').getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data].slice(0, 3);
    })()`) as Promise<number[]>;
  const state = (page: Page, name: string) => page.locator(`[data-camera=${name}]`).waitFor();

  it('is shown to operators of the organisation that holds it, and to nobody else', { timeout: 180_000 }, async () => {
    const run = <T>(...argv: string[]) => resultOf<T>(system.home, argv);
    const create = async (name: string) => {
      const created = run<{ organisation: string }>('org', 'create', name, '--kind', 'bureau');
      return (await created).organisation;
    };
    const [bureau, rival] = [await create('Bureau'), await create('Rival')];
    await run('machine', 'assign', system.machine, '--org', bureau);
    const invite = async (name: string, org: string, role: string) =>
      (await run<{ text: string }>('user', 'invite', name, '--org', org, '--role', role)).text;

    const otto = await people.person();
    // A picture as a camera makes it: a green part under a nozzle.
    await otto.setContent(PART);
    shown = await otto.screenshot({ type: 'jpeg', clip: { x: 0, y: 0, width: 640, height: 480 } });
    await people.enrol(otto, await invite('Otto', bureau, 'operator'), 'workshop');
    const look = (page: Page) => page.getByRole('button', { name: 'Look through the camera' });
    await look(otto).waitFor();
    // Nobody looks: the camera is left alone.
    expect(asked).toBe(0);
    const answers: string[] = [];
    otto.on('response', (response) => {
      if (response.url().endsWith('/camera')) void response.text().then((text) => answers.push(text));
    });
    await look(otto).click();
    await state(otto, 'live');
    const [red = 0, green = 0, blue = 0] = await colour(otto);
    expect(Math.abs(red - 20) + Math.abs(green - 140) + Math.abs(blue - 60)).toBeLessThan(30);
    // What the cloud passes on is no picture for it.
    await expect.poll(() => answers.length).toBeGreaterThan(0);
    const passed = Buffer.from((JSON.parse(answers[0] ?? '{}') as { picture: string }).picture, 'base64');
    expect(passed.includes(Buffer.from(shown).subarray(20, 60))).toBe(false);
    expect(await people.findings(otto, 'console-camera')).toEqual([]);
    expect(await people.findingsOnPhone(otto, 'console-camera')).toEqual([]);

    // The camera gives a page: the last picture stays, with its age, and turns grey.
    shown = Buffer.from('<html><script>parent.alert(1)</script>');
    await otto.locator('[role=alert]').getByText('E_MACHINE').waitFor();
    await state(otto, 'stale');
    expect(await people.findingsOnPhone(otto, 'console-camera-stale')).toEqual([]);

    // Another tenant's operator, and a colleague who is none: no button, and no answer to who asks without it.
    for (const [name, org, role] of [
      ['Rita', rival, 'operator'],
      ['Dora', bureau, 'designer'],
    ] as const) {
      const page = await people.person();
      await people.enrol(page, await invite(name, org, role), 'browser');
      await page.locator('.machine').waitFor();
      expect(await look(page).count()).toBe(0);
      const stolen = (await nextRequest(otto)) ?? '';
      const status = await page.evaluate(
        `fetch('/v1/machines/${system.machine}/camera', { method: 'POST', body: ${JSON.stringify(stolen)},
          headers: { 'content-type': 'application/json' } }).then(({ status }) => status)`,
      );
      expect(status).toBe(403);
    }

    await otto.getByRole('button', { name: 'Stop looking' }).click();
    await look(otto).waitFor();
    expect(people.complaints).toEqual([]);
  });

  /** The body of the next request for a picture that a page makes. */
  async function nextRequest(page: Page): Promise<string | undefined> {
    const request = await page.waitForRequest((made) => made.url().endsWith('/camera'));
    return request.postData() ?? undefined;
  }
});
