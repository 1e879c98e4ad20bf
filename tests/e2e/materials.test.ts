import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cli, enrolled, refusalOf, resultOf } from '@millrace/testkit/cli/helpers';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

// A supplier certifies spools, an operator loads them, a licence names the supplier. Each person has a folder with
// nothing of the server but an invitation.

let system: TestInstallation;
let otto: { key: string };
let acme: { organisation: string };
beforeAll(async () => {
  system = await createTestInstallation();
  const create = (name: string, kind: string) =>
    run<{ organisation: string }>(system.home, 'org', 'create', name, '--kind', kind);
  const { organisation } = await create('ACME', 'supplier');
  acme = { organisation };
  for (const [name, kind] of [
    ['Rival', 'supplier'],
    ['Bureau', 'bureau'],
    ['Brand', 'brand'],
  ] as const)
    await create(name, kind);
  await joins('carla', 'ACME', 'certifier');
  otto = await joins('otto', 'Bureau', 'operator');
}, 120_000);
afterAll(() => system?.close());

const folder = (name: string) => join(system.scratch, name);

const run = <T = Record<string, never>>(home: string, ...argv: string[]) => resultOf<T>(home, argv);
const refusal = (home: string, ...argv: string[]) => refusalOf(home, argv);

async function joins(name: string, organisation: string, role: string): Promise<{ key: string }> {
  const invited = ['user', 'invite', name, '--org', organisation, '--role', role];
  const { text } = await run<{ text: string }>(system.home, ...invited);
  return enrolled(folder(name), text);
}

const pla = (serial: string, grams: string) =>
  [
    '--name',
    'PLA',
    '--batch',
    'B1',
    '--spool',
    serial,
    '--grams',
    grams,
    '--diameter',
    '1.75',
    '--density',
    '1.24',
  ] as const;

it('a supplier certifies a spool, and others verify its code', { timeout: 120_000 }, async () => {
  const label = folder('label.png');
  const made = await run<{ spool: string; code: string; supplier: { name: string } }>(
    folder('carla'),
    ...['material', 'certify', ...pla('AC-17', '1000'), '--property', 'colour=black', '--label', label],
  );
  expect(made.supplier.name).toBe('ACME');
  expect([...(await readFile(label)).subarray(1, 4)]).toEqual([...Buffer.from('PNG')]);
  const { materials } = await run<{ materials: object[] }>(folder('carla'), 'material', 'list');
  expect(materials).toEqual([expect.objectContaining({ spool: made.spool, serial: 'AC-17', code: made.code })]);
  expect(await run(folder('carla'), 'material', 'show', 'AC-17')).toMatchObject({ code: made.code });

  await writeFile(folder('code.txt'), `${made.code}\n`);
  for (const given of [made.code, folder('code.txt')])
    expect(await run(folder('otto'), 'material', 'verify', given)).toMatchObject({ valid: true, spool: made.spool });
  const altered = made.code.replace(/.{4}$/, 'AAAA');
  expect(await refusal(folder('otto'), 'material', 'verify', altered)).toMatch(/E_SIGNATURE|E_INPUT/);
  expect(await refusal(folder('otto'), 'material', 'verify', 'no-such-file')).toContain('E_NOT_FOUND');
  expect(await refusal(folder('otto'), 'material', 'certify', ...pla('X', '1'))).toContain('E_FORBIDDEN');
  expect(await refusal(folder('carla'), 'material', 'certify', ...pla('X', '1'), '--made', 'soon')).toContain(
    'E_INPUT',
  );
});

it('a licence that names a supplier is printed with a spool of that supplier only', { timeout: 240_000 }, async () => {
  await joins('dora', 'Brand', 'designer');
  await joins('rita', 'Rival', 'certifier');
  const design = folder('part.gcode');
  await writeFile(design, 'G28\nG1 X10 Y10 F6000\nG1 X20 Y10 E1\nG1 X20 Y20 E2\n');
  const added = await run<{ design: string }>(folder('dora'), 'design', 'add', design);
  const { serial = '' } = system.installation.description.machines[0]?.registration ?? {};
  const machine = ['--machine', serial];
  const terms = ['--design', added.design, '--objects', '2', ...machine, '--holder', otto.key];
  const material = ['--material', 'PLA', '--supplier', 'ACME'];
  const { licence } = await run<{ licence: string }>(folder('dora'), 'licence', 'grant', ...terms, ...material);
  expect(await refusal(folder('dora'), 'licence', 'grant', ...terms, '--supplier', 'ACME')).toContain('E_INPUT');
  const wrong = ['--material', 'PLA', '--supplier', 'Bureau'];
  expect(await refusal(folder('dora'), 'licence', 'grant', ...terms, ...wrong)).toContain('is no supplier');
  const print = () => run<{ object: string; state: string }>(folder('otto'), 'print', '--licence', licence, '--watch');
  const refused = () => refusal(folder('otto'), 'print', '--licence', licence, '--watch');

  // The machine's settings say PLA, which was enough before.
  expect(await refused()).toContain('no certified spool is loaded');
  const tag = folder('tag.json');
  await writeFile(tag, JSON.stringify({ protocol: 'openspool', version: '1.0', type: 'PLA', brand: 'ACME' }));
  const load = (code: string) =>
    run<{ spool: string; name: string }>(folder('otto'), 'spool', 'load', code, ...machine);
  const described = await load(tag);
  expect(await refused()).toContain('no certified spool is loaded');
  await run(folder('otto'), 'spool', 'unload', described.spool);

  const certify = (who: string, serial: string) =>
    run<{ spool: string; code: string }>(folder(who), 'material', 'certify', ...pla(serial, '1000'));
  const foreign = await certify('rita', 'R-1');
  await load(foreign.code);
  expect(await refused()).toContain('is certified by Rival');
  await run(folder('otto'), 'spool', 'unload', 'R-1');

  const own = await certify('carla', 'AC-18');
  await load(own.code);
  const { spools } = await run<{ spools: object[] }>(folder('otto'), 'spool', 'list');
  expect(spools).toContainEqual(expect.objectContaining({ serial: 'AC-18', supplier: { ...acme, name: 'ACME' } }));
  const made = await print();
  expect(made.state).toBe('completed');

  // What it used is control's record; the machine's own odometer is beside what the reports add up to.
  const left = await run<{ spools: { serial?: string; left?: number }[] }>(folder('otto'), 'spool', 'list');
  expect(left.spools.find((spool) => spool.serial === 'AC-18')?.left).toBe(999);
  const odometer = () =>
    run<{ last: object; counted: object; alarm?: object }>(folder('dora'), 'machine', 'odometer', serial);
  expect(await odometer()).toMatchObject({ last: { started: 1, ended: 1 }, counted: { ended: 1, grams: 1 } });
  expect(await refusal(folder('rita'), 'machine', 'odometer', serial)).toContain('E_FORBIDDEN');

  // The operator's report reconciles the ledger with control's count, down to the gram.
  const csv = folder('site.csv');
  const report = await run<{ ok: boolean; stays: object[]; prints: object[]; findings: object[]; odometer: object }>(
    folder('otto'),
    ...['site', 'report', ...machine, '--csv', csv],
  );
  expect(report).toMatchObject({ ok: true, findings: [], odometer: { difference: { started: 1, ended: 1 } } });
  expect(report.prints).toMatchObject([{ object: made.object, completed: true, used: { spool: own.spool, grams: 1 } }]);
  expect(report.stays.at(-1)).toMatchObject({
    ...{ spool: own.spool, content: { serial: 'AC-18', supplier: 'ACME' }, loaded: { by: 'otto', left: 1_000 } },
    ...{ left: 999, reported: 1 },
  });
  expect(report.stays).toHaveLength(3);
  expect((await readFile(csv, 'utf8')).match(/^(spool|print|odometer at begin),/gm)).toHaveLength(5);
  // The owner loads no spools: its report cannot reconcile what it does not see, and says so.
  const partial = await cli(['site', 'report', ...machine, '--home', folder('dora'), '--json']);
  expect(partial.exit).toBe(6);
  const { findings } = JSON.parse(partial.stdout) as { findings: object[] };
  expect(findings).toContainEqual(expect.objectContaining({ about: made.object, unit: 'statements' }));

  // The certificate of the part proves who certified the spool, and who said that it was loaded.
  const file = folder('part.certificate');
  await run(folder('dora'), 'certificate', 'export', made.object, '--out', file);
  const summary = await run<{ checked: string[]; unchecked: string[]; spool: object }>(
    folder('dora'),
    ...['certificate', 'verify', file],
  );
  expect(summary.spool).toEqual({ spool: own.spool, serial: 'AC-18', supplier: 'ACME' });
  expect(summary.checked.join('\n')).toMatch(/material: ACME .* certified spool AC-18 as PLA.*signed by carla/);
  expect(summary.checked.join('\n')).toMatch(/loaded: otto of Bureau .* stated/);
  expect(summary.unchecked.join('\n')).toContain('a machine cannot tell one plastic from another');

  // The supplier's key is stolen: nothing begins with its spools, in the same minute.
  await run(system.home, 'user', 'revoke', 'carla', '--org', 'ACME', '--keep', 'none');
  expect(await refused()).toMatch(/does not count: the key \w+ \(carla\) was revoked/);
});
