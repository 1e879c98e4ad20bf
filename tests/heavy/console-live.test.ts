import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Closer } from '@millrace/base';
import { enrolled, resultOf } from '@millrace/testkit/cli/helpers';
import { type ConsolePeople, chromium, consolePeople } from '@millrace/testkit/console/people';
import { zipOf } from '@millrace/testkit/console/sliced-project';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const sample = fileURLToPath(new URL('../../samples/impeller.gcode', import.meta.url));

if (chromium === undefined) console.log('a print watched in a browser: NOT CHECKED, there is no Chromium');
describe.runIf(chromium !== undefined)('a running print in the console', () => {
  const closer = new Closer();
  let system: TestInstallation;
  let people: ConsolePeople;
  let origin: string;

  beforeAll(async () => {
    system = closer.add(await createTestInstallation({ console: true, machine: { factor: 60 } }));
    origin = `http://localhost:${system.addresses.console?.port}`;
    people = closer.add(await consolePeople(origin));
  }, 120_000);
  afterAll(() => closer.close());

  it('is drawn from the owner’s copy, as far as the machine has acknowledged it', { timeout: 180_000 }, async () => {
    const run = <T>(home: string, ...argv: string[]) => resultOf<T>(home, argv);
    const organisation = async (name: string, kind: string) =>
      (await run<{ organisation: string }>(system.home, 'org', 'create', name, '--kind', kind)).organisation;
    const invite = async (name: string, org: string, role: string) =>
      (await run<{ text: string }>(system.home, 'user', 'invite', name, '--org', org, '--role', role)).text;
    const [brand, bureau] = [await organisation('Brand', 'brand'), await organisation('Bureau', 'bureau')];
    const [dora, otto] = [join(system.scratch, 'dora'), join(system.scratch, 'otto')];
    await enrolled(dora, await invite('Dora', brand, 'designer'));
    const operator = await enrolled(otto, await invite('Otto', bureau, 'operator'));
    const [owner, workshop] = [await people.person(), await people.person()];
    await people.enrol(owner, (await run<{ text: string }>(dora, 'user', 'add-device')).text, 'browser');
    await people.enrol(workshop, (await run<{ text: string }>(otto, 'user', 'add-device')).text, 'workshop');
    const { design } = await run<{ design: string }>(dora, 'design', 'add', sample);
    const { serial = '' } = system.installation.description.machines[0]?.registration ?? {};
    const terms = ['--design', design, '--objects', '1', '--machine', serial, '--holder', operator.key];
    const { licence } = await run<{ licence: string }>(dora, 'licence', 'grant', ...terms);
    await run(otto, 'print', '--licence', licence, '--machine', serial);

    await owner.goto(`${origin}/#/prints`);
    const acked = async () => Number(await owner.locator('.live').getAttribute('data-acked'));
    await owner.locator('.live').waitFor({ timeout: 60_000 });
    // Another file is refused, by its length.
    const copy = owner.locator('.own-copy input');
    await copy.setInputFiles({ name: 'other.gcode', mimeType: 'text/plain', buffer: Buffer.from('G1 X1\n') });
    await owner.getByText('it is another file').waitFor();
    // The project of a slicer, with the same G-code in it.
    const parts = { 'Metadata/plate_1.gcode': await readFile(sample, 'utf8') };
    const project = { name: 'impeller.gcode.3mf', mimeType: 'model/3mf', buffer: Buffer.from(await zipOf(parts)) };
    await copy.setInputFiles(project);
    await owner.locator('.live canvas').waitFor();
    await expect.poll(acked, { timeout: 90_000 }).toBeGreaterThan(3);
    const layer = async () => Number(await owner.locator('.live canvas').getAttribute('data-layer'));
    await expect.poll(layer, { timeout: 30_000 }).toBeGreaterThan(1);
    const [before, layerBefore] = [await acked(), await layer()];
    await expect.poll(acked, { timeout: 90_000 }).toBeGreaterThan(before + 3);
    await expect.poll(layer, { timeout: 30_000 }).toBeGreaterThan(layerBefore);
    // Only a part of the layer is made, and the picture says which move is the last one.
    const moves = owner.getByRole('slider', { name: 'Move' });
    expect(Number(await moves.inputValue())).toBeLessThanOrEqual(Number(await moves.getAttribute('max')));
    await owner.getByRole('img', { name: /^Temperatures: Hotend/ }).waitFor();
    expect(await people.findings(owner, 'console-live')).toEqual([]);
    // Whoever looks at another layer is not taken back to the machine's.
    await owner.locator('.live canvas').focus();
    await owner.keyboard.press('Home');
    await owner.getByRole('checkbox', { name: 'Follow the machine', checked: false }).waitFor();
    const there = await acked();
    await expect.poll(acked, { timeout: 90_000 }).toBeGreaterThan(there);
    expect(await layer()).toBeLessThan(2);

    // The operator sees that it prints, and is asked for no file.
    await workshop.goto(`${origin}/#/prints`);
    await workshop.locator('.print').waitFor();
    expect(await workshop.locator('.own-copy, .live').count()).toBe(0);
    expect(people.complaints).toEqual([]);
  });
});
