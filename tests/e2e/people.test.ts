import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemRandom } from '@millrace/base';
import { formatInvitation, parseInvitation } from '@millrace/client';
import { cli } from '@millrace/testkit/cli/helpers';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

// Two companies with people on their own computers, whose folders contain nothing of the server but an invitation.

let system: TestInstallation;
beforeAll(async () => {
  system = await createTestInstallation();
}, 120_000);
afterAll(() => system?.close());

const folder = (name: string) => join(system.scratch, name);

async function run<T = Record<string, never>>(home: string, ...argv: string[]): Promise<T> {
  const { exit, stdout, stderr } = await cli([...argv, '--home', home, '--json']);
  if (exit !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as T;
}
const refusal = async (home: string, ...argv: string[]): Promise<string> => {
  const { exit, stderr } = await cli([...argv, '--home', home, '--json']);
  expect(exit, stderr).not.toBe(0);
  return stderr;
};

interface Joined {
  readonly key: string;
  readonly person: string;
  readonly roles: string[];
  readonly organisation: string;
}

async function enrolled(home: string, text: string, ...options: string[]): Promise<Joined> {
  const file = `${home}.invitation`;
  await writeFile(file, text);
  return run<Joined>(home, 'login', '--invitation-file', file, ...options);
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
  const ada = await enrolled(folder('ada'), first.text);
  expect(ada).toMatchObject({ organisation: brand, roles: ['owner-admin'] });
  const second = await invite(folder('ada'), 'Dora', brand, 'designer');
  const dora = await enrolled(folder('dora'), second.text);
  const otto = await enrolled(folder('otto'), (await invite(server, 'Otto', bureau, 'operator')).text);

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
  const made = await run<{ state: string }>(folder('otto'), 'print', '--licence', licence, '--watch');
  expect(made.state).toBe('completed');

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
  expect(revoked[0]?.kept.map(({ about }) => about)).toEqual([licence]);
  expect(await refusal(folder('dora'), ...grant())).toContain('E_REVOKED');
  const again = await run<{ state: string }>(folder('otto'), 'print', '--licence', licence, '--watch');
  expect(again.state).toBe('completed');

  // Another organisation cannot revoke the key.
  expect(await refusal(folder('otto'), 'user', 'revoke', ada.key, '--org', brand)).toContain('E_FORBIDDEN');
});
