import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError, systemClock, systemRandom } from '@millrace/base';
import { registerAll } from '@millrace/client';
import { cli, oneDocument, temporaryFolder, testInstallation } from '@millrace/testkit/cli/helpers';
import { FakeCloud, fakeDesign } from '@millrace/testkit/client/fake-cloud';
import { ownedDesign } from '@millrace/testkit/client/owned-design';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Installation, openInstallation } from '../src/installation/open.ts';
import { openSession } from '../src/installation/session.ts';

// Commands that ask a control node.

let installation: Installation;
let cloud: FakeCloud;
const millrace = (...argv: string[]) => cli([...argv, '--home', installation.layout.home]);

beforeEach(async () => {
  installation = await testInstallation();
  cloud = await FakeCloud.start(installation);
  const admin = await openSession({ installation, user: 'admin', clock: systemClock, random: systemRandom });
  await registerAll(admin);
  admin.close();
  const { design, manifest } = await ownedDesign(installation);
  cloud.designs.set(design, fakeDesign(manifest, 'stored'));
});
afterEach(() => cloud.close());

async function grant(objects = '1'): Promise<string> {
  const terms = ['--design', 'part.gcode', '--objects', objects, '--machine', 'virtual-1', '--material', 'PLA', 'PETG'];
  const { exit, stdout } = await millrace('licence', 'grant', ...terms, '--json');
  expect(exit).toBe(0);
  return String(oneDocument(stdout).licence);
}

it('grants, prints, shows, exports and verifies, each with one JSON document', async () => {
  const licence = await grant('1');
  expect(cloud.licences.get(licence)?.body.materials).toEqual(['PLA', 'PETG']);
  const print = await millrace('print', '--licence', licence.slice(0, 8), '--watch', '--json');
  expect(print.exit).toBe(0);
  const object = String(oneDocument(print.stdout).object);
  expect(oneDocument(print.stdout)).toMatchObject({ state: 'completed', segments: 3 });
  // The machine seals these to the owner. The holder's client receives them but cannot open them.
  for (const field of ['layers', 'lines', 'filamentMm']) expect(oneDocument(print.stdout)).not.toHaveProperty(field);
  const again = await millrace('print', '--licence', licence, '--watch', '--json');
  expect(again.exit).toBe(3);
  expect(oneDocument(again.stdout)).toMatchObject({ error: { code: 'E_LICENCE_EXHAUSTED' } });

  const show = await millrace('object', 'show', object, '--json');
  const events = oneDocument(show.stdout).events as { own?: object }[];
  expect(events.length).toBe(4);
  expect(events.at(-1)?.own).toMatchObject({ line: 9, layer: 2, filament: 5_000 });
  expect(oneDocument(show.stdout).live).toMatchObject({ line: 8 });
  expect((await millrace('object', 'show', object)).stdout).toMatch(/layer 2 line 9 filament 5\.00 m/);
  const others = await millrace('object', 'show', object, '--user', 'operator', '--json');
  expect(others.stdout).not.toMatch(/"(line|layer|filament)"/);
  const file = join(installation.layout.home, 'one.certificate');
  expect((await millrace('certificate', 'export', object, '--out', file)).exit).toBe(0);
  const verified = await millrace('certificate', 'verify', file, '--json');
  expect(oneDocument(verified.stdout)).toMatchObject({ valid: true, object, state: 'completed', signatures: 10 });
  for (const list of ['design', 'licence', 'object', 'machine']) {
    const { exit, stdout } = await millrace(list, 'list', '--json');
    expect(exit).toBe(0);
    expect(oneDocument(stdout)[`${list}s`]).toHaveLength(1);
  }
  const ledger = await millrace('ledger', 'verify', '--json');
  expect(oneDocument(ledger.stdout)).toMatchObject({ ok: true, size: 7, accounts: 4, objects: 1 });
});

it('verifies a certificate without an installation, for a given owner or authority', async () => {
  const licence = await grant();
  await millrace('print', '--licence', licence);
  const folder = await temporaryFolder();
  const file = join(folder, 'a.certificate');
  await millrace('certificate', 'export', `${licence}-1`, '--out', file);
  await cloud.close();
  const { logKey, adminKey } = installation.directory;
  const keyOf = (user: string) => installation.description.users.find(({ name }) => name === user)?.publicKey ?? '';
  await writeFile(join(folder, 'log.key'), `${logKey}\n`);
  await writeFile(join(folder, 'owner.key'), `${keyOf('owner')}\n`);
  const verify = (name: string, ...options: string[]) =>
    cli(['certificate', 'verify', name, ...options], { cwd: folder });
  for (const key of [logKey, 'log.key']) {
    for (const whose of [
      ['--owner', keyOf('owner')],
      ['--owner', 'owner.key'],
      ['--authority', adminKey],
      ['--owner', keyOf('owner'), '--authority', adminKey],
    ])
      expect((await verify('a.certificate', '--log-key', key, ...whose)).exit).toBe(0);
  }
  const [one, both] = [
    await verify('a.certificate', '--log-key', logKey, '--owner', 'owner.key'),
    await verify('a.certificate', '--log-key', logKey, '--owner', 'owner.key', '--authority', adminKey),
  ];
  expect(one.stdout).toContain('whose key signed the permit');
  expect(both.stdout).not.toContain('whose key signed the permit');
  expect(both.stdout).toContain('registered as owner by the administrator');
  expect((await verify('a.certificate')).exit).toBe(2);
  expect((await verify('a.certificate', '--log-key', logKey)).exit).toBe(2);
  expect((await verify('a.certificate', '--log-key', logKey, '--owner', logKey)).exit).toBe(2);
  for (const whose of [
    ['--owner', keyOf('operator')],
    ['--authority', keyOf('owner')],
    ['--owner', keyOf('operator'), '--authority', adminKey],
  ])
    expect((await verify('a.certificate', '--log-key', logKey, ...whose)).exit).toBe(6);
  expect((await verify('none', '--log-key', logKey, '--owner', 'owner.key')).exit).toBe(4);
  const bytes = await readFile(file);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  await writeFile(file, bytes);
  const changed = await verify(file, '--log-key', logKey, '--owner', 'owner.key', '--json');
  expect(changed.exit).toBe(6);
  expect(oneDocument(changed.stdout)).toHaveProperty('error.code');
});

it('acts as the user given by --user', async () => {
  await grant();
  const callers = new Set<string>();
  cloud.intercept = ({ user }) => void callers.add(user);
  await millrace('licence', 'list', '--user', 'operator');
  expect([...callers]).toEqual([installation.description.users.find(({ name }) => name === 'operator')?.user]);
  expect((await millrace('licence', 'list', '--user', 'nobody')).exit).toBe(4);
});

it.each([
  ['E_INPUT', 2],
  ['E_FORBIDDEN', 3],
  ['E_NOT_FOUND', 4],
  ['E_STORE', 5],
  ['E_CELL_DAMAGED', 6],
  ['E_ALARM', 7],
] as const)('ends with the exit code of %s', async (code, exit) => {
  cloud.intercept = () => {
    throw new MillraceError(code, 'because');
  };
  expect(await millrace('design', 'list')).toMatchObject({
    exit,
    stderr: expect.stringContaining(`${code}\n  what    because`),
  });
});

it('checks the vault, and ends with exit code 6 when there is a problem', async () => {
  const result = { check: 'c', state: 'done', cells: 9, problems: [] as object[] };
  let polls = 0;
  cloud.intercept = ({ path, body }) => {
    if (path === '/v1/vault/checks') return { check: JSON.parse(Buffer.from(body).toString()).deep ? 'deep' : 'c' };
    if (path.startsWith('/v1/vault/checks/')) {
      polls += 1;
      return polls === 1 ? { check: 'c', state: 'running' } : { ...result, deep: path.endsWith('/deep') };
    }
    return undefined;
  };
  const clean = await millrace('vault', 'check', '--deep', '--json');
  expect(clean.exit).toBe(0);
  expect(oneDocument(clean.stdout)).toMatchObject({ clean: true, cells: 9, deep: true });
  result.problems.push({ code: 'E_CELL_MISSING', segment: 2 });
  const broken = await millrace('vault', 'check');
  expect(broken.exit).toBe(6);
  expect(broken.stdout).toContain('E_CELL_MISSING');
});

it('reports that nothing runs when the addresses are missing', async () => {
  await cloud.close();
  const { layout } = await openInstallation(installation.layout.home);
  await writeFile(layout.run.addresses, '{}');
  expect((await millrace('design', 'list')).exit).toBe(2);
  const other = await testInstallation();
  const { exit, stderr } = await cli(['design', 'list', '--home', other.layout.home]);
  expect(exit).toBe(5);
  expect(stderr).toMatch(/start it with `(npx )?millrace up`/);
});
