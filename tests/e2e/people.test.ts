import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemRandom } from '@millrace/base';
import { formatInvitation, parseInvitation } from '@millrace/client';
import { cli, enrolled, refusalOf, resultOf } from '@millrace/testkit/cli/helpers';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

// Two companies with people on their own computers, whose folders contain nothing of the server but an invitation.

let system: TestInstallation;
beforeAll(async () => {
  system = await createTestInstallation();
}, 120_000);
afterAll(() => system?.close());

const folder = (name: string) => join(system.scratch, name);

/** A part that Otto of the bureau has ordered and that was made. */
let part: string;

/** What a command prints for people. */
const text = async (home: string, ...argv: string[]) => (await cli([...argv, '--home', home])).stdout;
const run = <T = Record<string, never>>(home: string, ...argv: string[]) => resultOf<T>(home, argv);
const refusal = (home: string, ...argv: string[]) => refusalOf(home, argv);

interface Joined {
  readonly key: string;
  readonly person: string;
  readonly roles: string[];
  readonly organisation: string;
}

it('a brand and a bureau make a part, and a revoked designer’s key is rejected', { timeout: 300_000 }, async () => {
  const server = system.home;
  const create = (name: string, kind: string) =>
    run<{ organisation: string }>(server, 'org', 'create', name, '--kind', kind);
  const brand = (await create('Brand', 'brand')).organisation;
  const bureau = (await create('Bureau', 'bureau')).organisation;
  const invite = (home: string, name: string, org: string, ...roles: string[]) =>
    run<{ text: string; invitation: string }>(home, 'user', 'invite', name, '--org', org, '--role', ...roles);

  // The administrator invites the first person, who invites the others.
  const first = await invite(server, 'Ada', brand, 'owner-admin');
  const ada = await enrolled<Joined>(folder('ada'), first.text);
  expect(ada).toMatchObject({ organisation: brand, roles: ['owner-admin'] });
  const second = await invite(folder('ada'), 'Dora', brand, 'designer');
  const dora = await enrolled<Joined>(folder('dora'), second.text);
  const otto = await enrolled<Joined>(folder('otto'), (await invite(server, 'Otto', bureau, 'operator')).text);

  // An invitation works once, and only with its secret.
  await writeFile(folder('used'), second.text);
  expect(await refusal(folder('thief'), 'login', '--invitation-file', folder('used'))).toContain('E_INVITATION');
  const wrong = formatInvitation({ ...parseInvitation(second.text), secret: systemRandom(32) });
  await writeFile(folder('wrong'), wrong);
  expect(await refusal(folder('thief2'), 'login', '--invitation-file', folder('wrong'))).toContain('E_NOT_FOUND');
  // Nobody can invite into another organisation, and only an owner-admin can invite.
  expect(await refusal(folder('ada'), 'user', 'invite', 'Eve', '--org', bureau, '--role', 'operator')).toContain(
    'E_FORBIDDEN',
  );
  expect(await refusal(folder('dora'), 'user', 'invite', 'Eve', '--role', 'operator')).toContain('E_FORBIDDEN');
  expect(await refusal(folder('ada'), 'org', 'create', 'Third', '--kind', 'brand')).toContain('E_FORBIDDEN');
  expect(await refusal(folder('otto'), 'user', 'list', '--org', brand)).toContain('E_FORBIDDEN');

  // The designer designs, the operator prints. Neither can do the other's work.
  const design = folder('part.gcode');
  await writeFile(design, 'G28\nG1 X10 Y10 F6000\nG1 X20 Y10 E1\nG1 X20 Y20 E2\n');
  expect(await refusal(folder('ada'), 'design', 'add', design)).toContain('E_FORBIDDEN');
  const added = await run<{ design: string }>(folder('dora'), 'design', 'add', design);
  const { serial } = system.installation.description.machines[0]?.registration ?? { serial: '' };
  const grant = (...more: string[]) =>
    [
      'licence',
      'grant',
      '--design',
      added.design,
      '--objects',
      '2',
      '--machine',
      serial,
      '--holder',
      otto.key,
      ...more,
    ] as const;
  const { licence } = await run<{ licence: string }>(folder('dora'), ...grant());
  // The operator's computer has no names of machines: the serial number is one.
  const here = ['--machine', serial];
  const made = await run<{ state: string }>(folder('otto'), 'print', '--licence', licence, ...here, '--watch');
  expect(made.state).toBe('completed');
  expect(await run(folder('otto'), 'queue', 'list', ...here)).toEqual({ prints: [] });
  expect(await refusal(folder('otto'), 'queue', 'list', '--machine', 'other')).toContain('E_NOT_FOUND');

  // Every list says who did it: in JSON as control knows it, in text by the verified credentials.
  const [view] = (await run<{ licences: { grantedBy: object }[] }>(folder('ada'), 'licence', 'list')).licences;
  const by = { key: dora.key, name: 'Dora', organisation: { organisation: brand, name: 'Brand' } };
  expect(view).toMatchObject({ owner: brand, holder: bureau, grantedBy: by });
  expect(await text(folder('ada'), 'licence', 'list')).toMatch(/Dora \(Brand\) +Bureau/);
  expect(await text(folder('ada'), 'design', 'list')).toContain('Dora (Brand)');
  expect(await text(folder('otto'), 'object', 'show', `${licence}-1`)).toContain('Otto (Bureau)');
  expect(await text(folder('ada'), 'user', 'list')).toMatch(/Dora .*Ada \(Brand\)/);
  part = `${licence}-1`;
  const certificate = folder('part.certificate');
  await run(folder('otto'), 'certificate', 'export', part, '--out', certificate);
  const verdict = await text(folder('otto'), 'certificate', 'verify', certificate);
  expect(verdict).toContain('signed by the owner: Dora of Brand');
  expect(verdict).toContain('by Otto of Bureau');

  // The bureau's site has the machine that the administrator has assigned to the bureau, and a licence is for the site.
  await run(server, 'machine', 'assign', serial, '--org', 'Bureau');
  expect(await refusal(folder('ada'), 'site', 'create', 'Graz', '--machine', serial)).toContain('E_FORBIDDEN');
  await run(folder('otto'), 'site', 'create', 'Graz', '--address', 'Hauptplatz 1', '--machine', serial);
  expect(await text(folder('ada'), 'site', 'list')).toMatch(/Graz +Bureau +1 +Otto \(Bureau\)/);
  expect(await text(folder('ada'), 'machine', 'list')).toMatch(/Bureau/);
  const atSite = grant().map((word) => (word === '--machine' ? '--site' : word === serial ? 'Bureau/Graz' : word));
  expect(await refusal(folder('dora'), ...atSite, '--later-machines')).toContain('E_INPUT');
  const site = await run<{ licence: string }>(folder('dora'), ...atSite);
  expect(await text(folder('ada'), 'licence', 'show', site.licence)).toContain('site Graz of Bureau, named machines');
  const there = ['print', '--licence', site.licence, '--machine', serial, '--watch'];
  expect((await run<{ state: string }>(folder('otto'), ...there)).state).toBe('completed');
  await run(folder('otto'), 'certificate', 'export', `${site.licence}-1`, '--out', folder('site.certificate'));
  expect(await text(folder('otto'), 'certificate', 'verify', folder('site.certificate'))).toContain('site: Graz');
  await run(folder('otto'), 'site', 'remove', 'Graz', serial);
  expect(await refusal(folder('otto'), ...there)).toContain('E_LICENCE_INVALID');

  // The administrator and the owner-admin can list people and keys.
  const { keys } = await run<{ keys: { key: string; invitedBy: string }[] }>(folder('ada'), 'user', 'list');
  expect(keys.map(({ key, invitedBy }) => [key, invitedBy])).toEqual([
    [ada.key, expect.any(String)],
    [dora.key, ada.key],
  ]);

  // Dora leaves. Her licence stays valid, as the organisation decided, and her key cannot do anything more.
  const { revoked } = await run<{ revoked: { key: string; kept: { about: string }[] }[] }>(
    folder('ada'),
    'user',
    'revoke',
    dora.person,
  );
  expect(revoked.map(({ key }) => key)).toEqual([dora.key]);
  expect(revoked[0]?.kept.map(({ about }) => about).sort()).toEqual([licence, site.licence].sort());
  expect(await refusal(folder('dora'), ...grant())).toContain('E_REVOKED');
  const again = await run<{ state: string }>(folder('otto'), 'print', '--licence', licence, '--watch');
  expect(again.state).toBe('completed');

  // Another organisation cannot revoke the key.
  expect(await refusal(folder('otto'), 'user', 'revoke', ada.key, '--org', brand)).toContain('E_FORBIDDEN');
});

it('a part is inspected, sold and retired from the folders of different people, and its certificate shows it', {
  timeout: 120_000,
}, async () => {
  const join = async (organisation: string, kind: string, name: string, role: string) => {
    await run(system.home, 'org', 'create', organisation, '--kind', kind);
    const invited = ['user', 'invite', name, '--org', organisation, '--role', role];
    await enrolled(folder(name), (await run<{ text: string }>(system.home, ...invited)).text);
    return folder(name);
  };
  const otto = folder('otto');
  const lia = await join('Test Lab', 'auditor', 'lia', 'certifier');
  const olga = await join('Airline', 'bureau', 'olga', 'operator');
  const inspection = ['object', 'inspect', part, '--passed', '--method', 'ISO 2768'];
  await writeFile(folder('report.pdf'), 'within tolerance');

  // Nobody but whom the owner has named inspects, and nobody but the owner names or sells.
  expect(await refusal(lia, ...inspection)).toContain('E_NOT_FOUND');
  expect(await refusal(olga, 'object', 'accept', part)).toContain('E_NOT_FOUND');
  await run(otto, 'object', 'appoint', part, '--inspector', 'Test Lab');
  expect(await refusal(lia, 'object', 'transfer', part, '--to', 'Airline')).toContain('E_FORBIDDEN');
  const { document } = await run<{ document: string }>(lia, ...inspection, '--report', folder('report.pdf'));

  await run(otto, 'object', 'transfer', part, '--to', 'Airline');
  expect(await refusal(otto, 'object', 'accept', part)).toContain('E_FORBIDDEN');
  expect(await text(olga, 'object', 'accept', part)).toContain('inspection: passed (ISO 2768)');
  expect(await refusal(otto, 'object', 'retire', part, '--reason', 'worn')).toContain('E_FORBIDDEN');
  await run(olga, 'object', 'retire', part, '--reason', 'worn');
  expect(await refusal(olga, 'object', 'transfer', part, '--to', 'Bureau')).toContain('E_STATE');

  const file = folder('retired.certificate');
  await run(olga, 'certificate', 'export', part, '--out', file);
  const verdict = await text(olga, 'certificate', 'verify', file);
  expect(verdict).toMatch(/retired: worn, on .* signed by olga of Airline/);
  expect(verdict).toMatch(/owner of the part: .*Airline.*by the last transfer/);
  expect(verdict).toContain('transfer: on ');
  expect(verdict).toContain(`signed by lia of Test Lab, whom the part’s owner had named as an inspector`);
  expect(verdict).toContain(document);
});
