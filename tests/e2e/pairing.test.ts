import { readdir, readFile, rm } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkCertificate, requestPrint, trustOf } from '@millrace/client';
import { cli, enrolled, resultOf } from '@millrace/testkit/cli/helpers';
import { type ConsolePeople, chromium, consolePeople } from '@millrace/testkit/console/people';
import { gcode } from '@millrace/testkit/designs';
import { license, objectOf, store, untilEnded } from '@millrace/testkit/job';
import { factorFor } from '@millrace/testkit/pace';
import { Managed } from '@millrace/testkit/process';
import { openSoftHsm, type SoftHsm } from '@millrace/testkit/soft-hsm';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';

// A site joins: its agent starts in an empty folder and knows nothing but the cloud's address.

const entry = fileURLToPath(new URL('../../packages/agent/dist/main.js', import.meta.url));

const hsm = await openSoftHsm();
if (typeof hsm === 'string') console.warn(`skipped: ${hsm}`);

/** Long enough to look at the page meanwhile. */
const PRINT_SECONDS = 20;
if (chromium === undefined) console.log('the local page in a browser: NOT CHECKED, there is no Chromium');

let system: TestInstallation;
let agent: Managed;
let people: ConsolePeople | undefined;
beforeAll(async () => {
  system = await createTestInstallation({ start: ['control', 'distribution', 'segments', 'keys'] });
}, 120_000);
afterAll(async () => {
  await people?.close();
  await agent?.kill();
  await system?.close();
  if (typeof hsm !== 'string') await hsm.close();
});

const folder = (name: string) => join(system.scratch, name);

async function operatorOf(organisation: string, name: string): Promise<string> {
  const create = ['org', 'create', organisation, '--kind', 'bureau'];
  const created = await resultOf<{ organisation: string }>(system.home, create);
  const invite = ['user', 'invite', name, '--org', created.organisation, '--role', 'operator'];
  await enrolled(folder(name), (await resultOf<{ text: string }>(system.home, invite)).text);
  return folder(name);
}

/** The first group of what the agent logs. */
const logged = (pattern: RegExp) =>
  vi.waitFor(async () => {
    const found = pattern.exec(await readFile(folder('agent.log'), 'utf8'))?.[1];
    if (found === undefined) throw new Error(`not logged yet: ${pattern}`);
    return found;
  }, 60_000);

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** The local page in a browser, with a picture for the documentation if pictures are wanted. */
async function looksRight(page: string, name: string, text: string | RegExp): Promise<void> {
  if (people === undefined) return;
  const browser = await people.person();
  // The page reloads itself every two seconds. Without that, what it showed once can be looked at for long.
  await browser.route('**', async (route) => {
    const response = await route.fetch();
    const body = (await response.text()).replace(/<meta http-equiv="refresh"[^>]*>/, '');
    await route.fulfill({ response, body });
  });
  await vi.waitFor(
    async () => {
      await browser.goto(`http://${page}/`);
      expect(await browser.locator('main').textContent()).toMatch(text);
    },
    { timeout: 120_000, interval: 200 },
  );
  expect(await people.findings(browser, name)).toEqual([]);
  await browser.emulateMedia({ colorScheme: 'dark' });
  await browser.setViewportSize({ width: 390, height: 700 });
  expect(await people.findings(browser, `${name}-narrow`)).toEqual([]);
  expect(await browser.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
  await browser.context().close();
}

/** Makes an object on a machine. @returns what its certificate says of the machine's key, and how to order another */
async function makePart(machine: string, content: Uint8Array = Buffer.from('G28\nG1 X10 Y10 F3000\nM84\n')) {
  const owner = await system.session('owner');
  const operator = await system.session('operator');
  const { design } = await store(system, owner, content);
  const licence = await license({ machine }, owner, design, 2);
  const view = await untilEnded(operator, await requestPrint(operator, licence, machine));
  expect(view).toMatchObject({ state: 'completed' });
  const trust = { logKey: trustOf(system.installation).logKey, owner: owner.signer.publicKey };
  const { checked, unchecked } = await checkCertificate(await owner.api.certificate(objectOf(view)), trust);
  const key = [...checked, ...unchecked].filter((line) => line.includes('key'));
  return { key, order: () => requestPrint(operator, licence, machine) };
}

it('an operator enters the code of an agent, the administrator admits it, and it makes a part', async () => {
  const { host, port } = system.addresses.control;
  const page = `127.0.0.1:${await freePort()}`;
  const args = ['--folder', folder('site'), '--cloud', `${host}:${port}`, '--page', page];
  agent = new Managed({ name: 'agent', entry, args }, folder('agent.log'));
  await agent.start();
  if (chromium !== undefined) people = await consolePeople(`http://${page}`);
  const otto = await operatorOf('Bureau', 'otto');

  const code = await logged(/"code":"([0-9A-Z-]{19})"/);
  const content = gcode(400_000);
  const factor = `${await factorFor(content, PRINT_SECONDS)}`;
  const terms = ['--name', 'mini', '--kind', 'virtual', '--serial', 'SITE-1', '--factor', factor];
  const refusal = async (entered: string, ...as: string[]) =>
    (await cli(['machine', 'pair', entered, ...terms, ...as, '--json'])).stderr;
  await looksRight(page, 'site-pairing', code);
  expect(await refusal('0000-0000-0000-0000', '--home', otto)).toContain('E_NOT_FOUND');
  const paired = await resultOf<{ machine: string; admitted: boolean }>(otto, ['machine', 'pair', code, ...terms]);
  expect(paired.admitted).toBe(false);
  expect(await refusal(code, '--home', system.home, '--user', 'operator')).toContain('E_CONFLICT');

  expect((await cli(['machine', 'admit', 'mini', '--home', otto, '--json'])).stderr).toContain('E_FORBIDDEN');
  const { waiting } = await resultOf<{ waiting: { machine: string; by: object }[] }>(system.home, ['machine', 'admit']);
  expect(waiting).toMatchObject([{ machine: paired.machine, by: { name: 'otto', organisation: 'Bureau' } }]);
  await resultOf(system.home, ['machine', 'admit', 'mini']);

  expect((await makePart(paired.machine)).key).toEqual(
    expect.arrayContaining([
      expect.stringMatching(/^machine’s key: in a file/),
      expect.stringContaining('read the file'),
    ]),
  );
  const printing = makePart(paired.machine, content);
  await looksRight(page, 'site-printing', /Printing, [1-9]/);
  await printing;
  expect(await agent.stop()).toBe(0);
}, 180_000);

it.skipIf(typeof hsm === 'string')(
  'a site with a token makes its keys there, and stops without it',
  async () => {
    const token = hsm as SoftHsm;
    await token.addToken('site', '1414');
    await rm(folder('agent.log'));
    const { host, port } = system.addresses.control;
    const place = ['--pkcs11', token.module, '--token', 'site', '--pin-file', await token.pinFile('pin', '1414')];
    const page = `127.0.0.1:${await freePort()}`;
    const args = ['--folder', folder('site 2'), '--cloud', `${host}:${port}`, '--page', page, ...place];
    agent = new Managed({ name: 'agent', entry, args }, folder('agent.log'));
    await agent.start();
    const code = await logged(/"code":"([0-9A-Z-]{19})"/);
    const terms = ['--name', 'sealed', '--kind', 'virtual', '--serial', 'SITE-2', '--factor', '240'];
    const paired = await resultOf<{ machine: string; admitted: boolean }>(system.home, [
      'machine',
      'pair',
      code,
      ...terms,
    ]);
    expect(paired.admitted).toBe(true);
    const { key, order } = await makePart(paired.machine);
    expect(key).toContainEqual(expect.stringMatching(/^machine’s key: in a software token \(SoftHSM project/));
    const shows = (text: string) =>
      vi.waitFor(async () => expect(await (await fetch(`http://${page}/`)).text()).toContain(text), {
        timeout: 120_000,
        interval: 500,
      });
    await shows('in the software token SoftHSM project');
    expect(await readdir(join(folder('site 2'), 'machines/1'))).not.toContain('identity.key');
    await token.pull();
    await order();
    await shows('E_HSM');
    expect(await agent.stop()).toBe(0);
  },
  240_000,
);
