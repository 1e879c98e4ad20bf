import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { certificatesOf, isIssuedBy } from '@millrace/identity';
import { enrolled, resultOf } from '@millrace/testkit/cli/helpers';
import { call } from '@millrace/testkit/http';
import { rotateIn } from '@millrace/testkit/rotation';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

// The authority that issues people's certificates is rotated. People on other computers renew by themselves.

let system: TestInstallation;
let ada: string;
beforeAll(async () => {
  system = await createTestInstallation({ start: ['control', 'distribution'] });
  ada = join(system.scratch, 'ada');
}, 120_000);
afterAll(() => system?.close());

const run = <T = Record<string, never>>(home: string, ...argv: string[]) => resultOf<T>(home, argv);

const identity = async () => ({
  certificate: await readFile(join(ada, 'users', 'me', 'tls.crt.pem'), 'utf8'),
  key: new Uint8Array(await readFile(join(ada, 'users', 'me', 'tls.key.pem'))),
});
const isNewest = (certificate: string) => {
  const [newest = ''] = certificatesOf(system.installation.directory.userAuthority ?? '');
  return isIssuedBy(certificate, newest);
};

/** Status of a request with this certificate, or 'closed'. */
const withCertificate = (user: Awaited<ReturnType<typeof identity>>) =>
  call(system.addresses.control, system.installation.directory, 'control', user, {
    method: 'GET',
    path: '/v1/organisations',
  }).then(
    ({ status }) => status,
    () => 'closed',
  );

it('people renew their certificates by themselves, within the overlap and without one', {
  timeout: 180_000,
}, async () => {
  const { organisation } = await run<{ organisation: string }>(
    system.home,
    'org',
    'create',
    'Brand',
    '--kind',
    'brand',
  );
  const invited = ['user', 'invite', 'Ada', '--org', organisation, '--role', 'owner-admin'];
  const { text } = await run<{ text: string }>(system.home, ...invited);
  await enrolled(ada, text);
  const first = await identity();
  expect(isNewest(first.certificate)).toBe(true);

  expect(await rotateIn(system, 'users')).toEqual(['control']);
  expect(isNewest(first.certificate)).toBe(false);
  expect(await withCertificate(first)).toBe(200);
  expect(await run(ada, 'org', 'list')).toMatchObject({ organisations: [{ organisation }] });
  const second = await identity();
  expect(isNewest(second.certificate)).toBe(true);

  // Stolen: what it has issued ends at once.
  await rotateIn(system, 'users', { overlapDays: 0 });
  // Control records the directory before it renews its listener.
  await expect.poll(() => withCertificate(second), { timeout: 10_000 }).toBe('closed');
  expect(await run(ada, 'org', 'list')).toMatchObject({ organisations: [{ organisation }] });
  expect(isNewest((await identity()).certificate)).toBe(true);
  expect(await withCertificate(await identity())).toBe(200);
});
