import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cli, refusalOf, resultOf, until } from '@millrace/testkit/cli/helpers';
import { hashOf, machineObject } from '@millrace/testkit/job';
import { createTestInstallation, MACHINE, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

// Variant A: a workstation with the machine's folder makes objects from a file, as separate processes of the cloud allow.

let system: TestInstallation;
let stick: string;
beforeAll(async () => {
  system = await createTestInstallation({
    machine: { factor: 10_000 },
    start: ['control', 'distribution', 'segments', 'keys'],
  });
  stick = join(system.scratch, 'stick');
  await mkdir(stick);
}, 120_000);
afterAll(() => system?.close());

const run = <T = Record<string, never>>(...argv: string[]) => resultOf<T>(system.home, argv);

it('a package travels to the workstation and becomes N parts with certificates', { timeout: 180_000 }, async () => {
  const [key, design, job] = ['mk.driver', 'part.gcode', 'part.mrjob'].map((name) => join(system.scratch, name));
  const program = 'G28\nG1 X10 Y10 F6000\nG1 X20 Y10 E1\nG1 X20 Y20 E2\n'.repeat(900);
  await writeFile(design ?? '', program);
  expect(await refusalOf(system.home, ['driver', 'make', MACHINE, 'none.mrjob'])).toContain('E_NOT_FOUND');
  await run('driver', 'key', MACHINE, '--out', key ?? '');
  const create = ['package', 'create', design ?? '', '--driver', key ?? '', '--machine', MACHINE, '--objects', '3'];
  const { licence } = await run<{ licence: string }>(...create, '--out', job ?? '');
  expect(await refusalOf(system.home, [...create, '--out', job ?? ''])).toContain('E_CONFLICT');
  const copy = join(stick, 'copy.mrjob');
  await copyFile(job ?? '', copy);

  const { objects } = await run<{ objects: string[] }>('driver', 'make', MACHINE, copy);
  expect(objects).toEqual([`${licence}-1`]);
  const made = await machineObject(system, `${licence}-1`);
  expect(made).toMatchObject({ event: 'completed', sha256: hashOf(Buffer.from(program)) });

  // The second one from a 3MF file.
  const [consumer, model, back] = ['mk.pem', 'part.3mf', 'back.mrjob'].map((name) => join(stick, name));
  const dispatch = ['package', 'export', copy, '--consumer', consumer ?? '', '--3mf', model ?? ''];
  expect(await refusalOf(system.home, dispatch)).toContain('E_NOT_FOUND');
  await run('driver', 'key', MACHINE, '--out', key ?? '', '--3mf', consumer ?? '');
  await run(...dispatch);
  expect(await refusalOf(system.home, dispatch)).toContain('E_CONFLICT');
  await run('package', 'import', model ?? '', '--machine', MACHINE, '--out', back ?? '');
  expect(await readFile(back ?? '')).toEqual(await readFile(copy));
  expect(await run('driver', 'make', MACHINE, model ?? '')).toMatchObject({ objects: [`${licence}-2`] });

  // The third one from a watched folder, with a file that is no package beside it. A further copy is refused there.
  const watched = join(system.scratch, 'watched');
  await mkdir(watched);
  await copyFile(job ?? '', join(watched, 'a.mrjob'));
  await copyFile(job ?? '', join(watched, 'b.mrjob'));
  const stop = new AbortController();
  const watching = cli(['driver', 'watch', MACHINE, watched, '--home', system.home], { signal: stop.signal });
  const names = (folder: string) => readdir(join(watched, folder)).catch(() => []);
  await until(async () => (await names('made')).length + (await names('refused')).length === 3);
  // A driver that waits for packages answers rehearsals, from the key of the envelope in the licence. They count nothing.
  expect(await run('rehearse', '--licence', licence)).toMatchObject({ outcome: 'fits', rules: [] });
  stop.abort();
  await watching;
  expect(await names('made')).toEqual([`${licence}-3.mrjob`]);
  expect(await readFile(join(watched, 'refused', 'b.mrjob.txt'), 'utf8')).toMatch(/^E_LICENCE_EXHAUSTED: /);
  expect(await refusalOf(system.home, ['driver', 'make', MACHINE, copy])).toContain('E_LICENCE_EXHAUSTED');

  const file = join(system.scratch, 'part.certificate');
  await run('certificate', 'export', `${licence}-3`, '--out', file);
  expect(await run('certificate', 'verify', file)).toMatchObject({ object: `${licence}-3`, valid: true });
});
